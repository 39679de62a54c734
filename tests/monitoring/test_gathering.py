"""Several workers' metrics are shown as one: sums that never go back, gauges of the living."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitoring.gathering import Gathered
from monitoring.metrics import Metrics
from monitoring.slate import Slate

ROOT = Path(__file__).parents[2]

WORKER = """
import sys
from monitoring.slate import Slate, evaluate
slate = Slate(int(sys.argv[1]), int(sys.argv[2]))
slate.take_over()
from monitoring.metrics import Metrics
metrics = Metrics()
metrics.know_tenants(["acme", "lex"])
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Worker:
    """A real process with a slate; does what it is told, one statement a line."""

    def __init__(self, slate: Slate) -> None:
        self.slate = slate
        self.process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        alive = self.process is not None and self.process.poll() is None
        return self.process.pid if alive and self.process else None

    def start(self) -> None:
        arguments = [sys.executable, "-c", WORKER, *map(str, self.slate.files)]
        self.process = subprocess.Popen(
            arguments, cwd=ROOT, pass_fds=self.slate.files, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.do("pass")

    def do(self, statement: str) -> None:
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        if self.process is not None:
            assert self.process.stdin and self.process.stdout
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()


@pytest.fixture
def workers():
    made = [Worker(Slate.create()) for _ in range(2)]
    for worker in made:
        worker.start()
    yield made
    for worker in made:
        worker.kill()
        worker.slate.close()


@pytest.fixture
def shown(workers: list[Worker]) -> Gathered:
    return Gathered(lambda: [(w.slate, w.pid) for w in workers], Metrics())


def value(shown: Gathered, name: str, **labels: str) -> float | None:
    return shown.registry.get_sample_value(f"switchyard_{name}", labels)


COUNT = "metrics.requests_total.labels('acme', 'base', 200).inc({})"


def test_counters_add_up_and_are_born_at_zero(workers: list[Worker], shown: Gathered) -> None:
    labels = {"tenant": "acme", "served": "base", "status": "200"}
    assert value(shown, "requests_total", **labels) == 0
    workers[0].do(COUNT.format(3))
    workers[1].do(COUNT.format(4))
    assert value(shown, "requests_total", **labels) == 7
    assert value(shown, "requests_total", tenant="lex", served="base", status="503") == 0


def test_a_killed_workers_counters_stay_to_the_last_one_and_go_on_after_its_restart(
    workers: list[Worker], shown: Gathered
) -> None:
    labels = {"tenant": "acme", "served": "base", "status": "200"}
    for number in range(1, 4):
        workers[0].do(COUNT.format(1))
        workers[0].kill()
        assert value(shown, "requests_total", **labels) == number
        workers[0].start()
        assert value(shown, "requests_total", **labels) == number
    names = os.fstat(workers[0].slate.files[1]).st_size
    workers[0].kill()
    workers[0].start()
    assert os.fstat(workers[0].slate.files[1]).st_size == names, "restarts add no series"


def test_gauges_are_those_of_workers_that_live(workers: list[Worker], shown: Gathered) -> None:
    for worker, revision, age in zip(workers, (7, 5), (0.1, 9.0), strict=True):
        worker.do("metrics.in_flight.labels('acme').inc(2)")
        worker.do(f"metrics.snapshot_revision.set({revision})")
        worker.do(f"metrics.snapshot_age_seconds.set_function(lambda: {age})")
        worker.do("evaluate(metrics.registry)")
    assert value(shown, "in_flight", tenant="acme") == 4
    assert value(shown, "snapshot_revision") == 5, "the worker that is furthest behind"
    assert value(shown, "snapshot_age_seconds") == 9.0, "the oldest"
    workers[1].kill()
    assert value(shown, "in_flight", tenant="acme") == 2
    assert value(shown, "snapshot_age_seconds") == 0.1
    workers[0].kill()
    assert value(shown, "in_flight", tenant="acme") is None
    workers[0].start()
    assert value(shown, "in_flight", tenant="acme") == 0


def test_histograms_add_up_by_bucket(workers: list[Worker], shown: Gathered) -> None:
    workers[0].do("metrics.request_duration_seconds.labels('acme').observe(0.03)")
    workers[1].do("metrics.request_duration_seconds.labels('acme').observe(0.3)")
    workers[1].do("metrics.request_duration_seconds.labels('acme').observe(100)")
    name = "request_duration_seconds"
    found = [value(shown, f"{name}_bucket", tenant="acme", le=le) for le in ("0.05", "0.5", "+Inf")]
    assert found == [1, 2, 3]
    assert value(shown, f"{name}_count", tenant="acme") == 3
    assert value(shown, f"{name}_sum", tenant="acme") == pytest.approx(100.33)
    assert value(shown, f"{name}_count", tenant="lex") == 0


def test_a_tenant_that_leaves_takes_its_series_along_and_comes_back_at_zero(
    workers: list[Worker], shown: Gathered
) -> None:
    for worker in workers:
        worker.do(COUNT.format(1))
        worker.do("kept = metrics.requests_total.labels('acme', 'base', 200)")
        worker.do("metrics.know_tenants(['lex'])")
        worker.do("kept.inc()")
    tenants = {s.labels.get("tenant") for f in shown.registry.collect() for s in f.samples}
    assert "acme" not in tenants and "lex" in tenants
    workers[0].do("metrics.know_tenants(['acme', 'lex'])")
    assert value(shown, "requests_total", tenant="acme", served="base", status="200") == 0


def test_more_series_than_fit_one_page_are_all_shown(
    workers: list[Worker], shown: Gathered
) -> None:
    workers[0].do("metrics.know_tenants([f't{n}' for n in range(200)])")
    workers[0].do("metrics.tokens_total.labels('t199', 'prompt').inc(5)")
    assert len(workers[0].slate.read()) > 4096
    assert value(shown, "tokens_total", tenant="t199", kind="prompt") == 5


def test_half_a_name_that_a_killed_worker_left_is_cut_off(
    workers: list[Worker], shown: Gathered
) -> None:
    workers[0].kill()
    os.write(workers[0].slate.files[1], b'["counter", "switch')
    assert value(shown, "exchanges_dropped_total", reason="queue") == 0
    workers[0].start()
    workers[0].do("metrics.errors_total.labels('acme', 'odd').inc()")
    assert value(shown, "errors_total", tenant="acme", code="odd") == 1


def test_what_is_shown_has_the_names_of_one_process(workers: list[Worker], shown: Gathered) -> None:
    alone = Metrics()
    alone.know_tenants(["acme", "lex"])
    names = {s.name for f in shown.registry.collect() for s in f.samples}
    assert names == {s.name for f in alone.registry.collect() for s in f.samples}
    cpu = shown.registry.get_sample_value("process_cpu_seconds_total")
    workers[0].kill()
    after = shown.registry.get_sample_value("process_cpu_seconds_total")
    assert cpu is not None and after is not None and after >= cpu > 0
