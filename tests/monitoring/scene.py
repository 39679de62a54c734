"""A tenant with a live version, traffic and corrections, on a real registry."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from monitoring.controller import Controller
from monitoring.metrics import Metrics
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.decisions import Decision
from registry.exchanges import Exchange
from registry.job import Job
from tests.monitoring.tickets import prompt

SETTINGS = ControllerSettings(reference=60, min_corrections=5, cooldown_s=1000, sustained_for=10)


class Clock:
    """Seconds that pass when told, and a little whenever one looks."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


@dataclass
class Scene:
    """`acme` with the adapter `support` live behind the alias `support`."""

    registry: Registry
    settings: ControllerSettings = SETTINGS
    metrics: Metrics = field(default_factory=Metrics)
    clock: Clock = field(default_factory=Clock)
    numbers: Iterable[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.registry.tenants.create("acme", store_text=True)
        self.registry.adapters.create("acme", "support", "tiny", training={"rank": 8})
        self.registry.aliases.ensure("acme", "support", "support")
        rows = [_row(f"old ticket {n}", "billing") for n in range(20)] + ["{broken", "[]"]
        file_id = self.registry.upload("acme", "train.jsonl", "\n".join(rows).encode())
        job = self.registry.jobs.enqueue("acme", "support", file_id)
        self.finish(job, "a" * 64)
        self.promote("a" * 64)
        self.controller = self.new_controller()

    def new_controller(self) -> Controller:
        """As after a restart."""
        return Controller(self.registry, self.settings, self.metrics, clock=self.clock)

    def finish(
        self, job: Job, digest: str, *, exact: float = 0.9, before: float | None = None
    ) -> None:
        """The worker's part: the job succeeds and its version becomes a candidate."""
        leased = self.registry.jobs.lease("worker-1")
        assert leased is not None
        assert leased.id == job.id
        self.registry.versions.publish(
            "acme",
            "support",
            digest,
            manifest={},
            evaluation={
                "n": 100,
                "adapter": {"exact": exact},
                "parent": None if before is None else {"exact": before},
            },
            verdict="promote",
            job_id=job.id,
        )
        self.registry.jobs.succeed(job.id, "worker-1", digest)

    def promote(self, digest: str) -> None:
        """The swapper's part."""
        old = self.registry.aliases.get("acme", "support").live
        self.registry.aliases.flip("acme", "support", digest)
        if old is not None:
            self.registry.aliases.retire(old)

    def send(
        self,
        sketches: Iterable[bytes],
        *,
        status: int = 200,
        fallback: str = "",
        shadow_of: str | None = None,
    ) -> None:
        """Traffic that the router recorded."""
        self.registry.exchanges.add(
            [
                Exchange(
                    id=f"chatcmpl-{next(iter(self.numbers))}",
                    tenant="acme",
                    alias="support",
                    adapter="support",
                    served="base" if fallback else "adapter",
                    fallback=fallback,
                    role="shadow" if shadow_of else "live",
                    shadow_of=shadow_of,
                    status=status,
                    latency_ms=5.0,
                    sketch=packed,
                )
                for packed in sketches
            ]
        )

    def correct(self, count: int, answer: str = "smart-home", given: str = "billing") -> None:
        """People's corrections of `count` answers."""
        for _ in range(count):
            name = f"chatcmpl-{next(iter(self.numbers))}"
            self.registry.exchanges.add(
                [
                    Exchange(
                        id=name,
                        tenant="acme",
                        alias="support",
                        adapter="support",
                        served="adapter",
                        status=200,
                        latency_ms=5.0,
                        messages={"messages": prompt(f"new ticket {name}")},
                        answer=given,
                    )
                ]
            )
            self.registry.exchanges.give_feedback("acme", name, correction=answer)

    def receipts(self, kind: str) -> list[Decision]:
        """Decisions of a kind, oldest first."""
        return self.registry.decisions.all("acme", "support", kind)[::-1]

    def gauge(self, name: str, **labels: str) -> float | None:
        """A metric's value as a scrape would show it."""
        return self.metrics.registry.get_sample_value(f"switchyard_{name}", labels)


def _row(text: str, answer: str) -> str:
    messages = [*prompt(text), {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages, "id": text})
