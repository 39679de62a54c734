"""The comparison, and the run that watches memory."""

from __future__ import annotations

import dataclasses
import re
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Report, middle
from bench.router.measure import Streams, Whole, require_tools, streams, whole
from bench.router.targets import TENANTS, UNWATCHED, Target, targets

CONNECTIONS = 64
STREAMS, STREAMS_AT_ONCE = 600, 32
WHERE = "routers on core 0, engine and load on core 1"
EVERYTHING = frozenset({"litellm", "vllm-router", UNWATCHED})


@dataclass
class Seen:
    """One target's figures, a value a round."""

    target: Target
    alone: list[Whole] = field(default_factory=list)
    many: list[Whole] = field(default_factory=list)
    streams: list[Streams] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    """Of ours: shares of the exchanges at many connections that were recorded."""

    def _dropped(self) -> float:
        if self.target.metrics is None:
            return 0.0
        with urllib.request.urlopen(self.target.metrics) as answer:
            text = answer.read().decode()
        found = re.findall(r"^switchyard_exchanges_dropped_total\{.*\} (\S+)$", text, re.M)
        return sum(map(float, found))

    def measure(self, seconds: float) -> None:
        """One round."""
        url, keys, model = self.target.url, self.target.keys, self.target.model
        whole(url, keys, model, 16, 1)
        self.alone.append(whole(url, keys, model, 1, seconds))
        dropped = self._dropped()
        self.many.append(whole(url, keys, model, CONNECTIONS, seconds))
        if self.target.metrics is not None:
            asked = self.many[-1].requests
            share = 1 - (self._dropped() - dropped) / max(asked, 1)
            self.written.append(max(share, 0.0))  # what was under way before is dropped in it, too
        self.streams.append(streams(url, keys, model, STREAMS_AT_ONCE, STREAMS))
        child = self.target.child
        self.rss_mib.append(child.rss_mib() if child is not None else 0.0)

    def per_second(self) -> float:
        return middle([each.per_second for each in self.many])

    def streams_per_second(self) -> float:
        return middle([each.streams_per_second for each in self.streams])

    def p50_ms(self) -> float:
        return middle([each.p50_ms for each in self.alone])

    def failed(self) -> int:
        unended = sum(STREAMS - each.done for each in self.streams)
        answers = [*self.alone, *self.many]
        return sum(each.failed for each in answers) + unended


def compare(
    rounds: int, seconds: float, peers: Path, without: frozenset[str], *, access_log: bool
) -> Report:
    """One table. Raises BenchError."""
    require_tools()
    with (
        tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder,
        targets(Path(folder), peers, without, access_log=access_log) as found,
    ):
        seen = [Seen(target) for target in found]
        for number in range(rounds):
            for each in seen if number % 2 == 0 else reversed(seen):
                each.measure(seconds)
    return _report(seen, access_log)


def memory(requests: int, *, access_log: bool) -> Report:
    """Resident memory of our router over many requests. Raises BenchError."""
    require_tools()
    samples: list[tuple[int, float]] = []
    failed = done = 0
    with (
        tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder,
        targets(Path(folder), Path(), EVERYTHING, access_log=access_log) as found,
    ):
        ours = found[1]
        assert ours.child is not None
        began = time.monotonic()
        while done < requests:
            seen = whole(ours.url, ours.keys, ours.model, CONNECTIONS, 2)
            done, failed = done + seen.requests, failed + seen.failed
            samples.append((done, ours.child.rss_mib()))
        took_s = time.monotonic() - began
    warm = [rss for count, rss in samples if count >= requests / 10]
    centre = (max(warm) + min(warm)) / 2
    spread = (max(warm) - min(warm)) / 2 / centre
    report = Report(
        f"router: resident memory over {done:,} requests",
        WHERE,
        ("requests", "RSS MiB"),
        figures={"samples": samples, "spread": spread, "failed": failed, "seconds": took_s},
    )
    for count, rss in samples[:: max(1, len(samples) // 12)]:
        report.add(f"{count:,}", f"{rss:.1f}")
    report.judge(f"flat after the first tenth: ± {spread:.1%} (to be ≤ 5 %)", spread <= 0.05)
    report.judge(f"at most 150 MiB: {max(rss for _, rss in samples):.0f}", max(warm) <= 150)
    report.judge(f"nothing failed: {failed}", failed == 0)
    return report


def _report(seen: Sequence[Seen], access_log: bool) -> Report:
    by_name = {each.target.name: each for each in seen}
    columns = ["", f"req/s at {CONNECTIONS}", "of direct"]
    others = [name for name in (UNWATCHED, "litellm", "vllm-router") if name in by_name]
    columns += [f"÷ {name}" for name in others]
    columns += [f"p99 at {CONNECTIONS}", "p50 at 1", "p99 at 1", "streams/s", "first p50",
                "failed", "RSS MiB", "written"]  # fmt: skip
    log = "on" if access_log else "off"
    where = f"{WHERE}; ours: {TENANTS} tenants with keys, limits and records, access log {log}"
    report = Report("router: one engine without a model behind each", where, tuple(columns))
    direct = by_name["direct"]
    for each in seen:
        report.add(
            each.target.name,
            f"{each.per_second():,.0f}",
            f"{each.per_second() / direct.per_second():.2f}",
            *(f"{each.per_second() / by_name[name].per_second():.2f}" for name in others),
            f"{middle([w.p99_ms for w in each.many]):.1f} ms",
            f"{each.p50_ms():.3f} ms",
            f"{middle([w.p99_ms for w in each.alone]):.3f} ms",
            f"{each.streams_per_second():,.0f}",
            f"{middle([s.first_p50_ms for s in each.streams]):.1f} ms",
            str(each.failed()),
            f"{max(each.rss_mib):.0f}" if each.target.child else "–",
            f"{middle(each.written):.0%}" if each.written else "–",
        )
        report.figures[each.target.name] = {
            "alone": [dataclasses.asdict(w) for w in each.alone],
            "many": [dataclasses.asdict(w) for w in each.many],
            "streams": [dataclasses.asdict(s) for s in each.streams],
            "rss_mib": each.rss_mib,
            "written": each.written,
        }
    _judge(report, by_name)
    return report


def _judge(report: Report, by_name: dict[str, Seen]) -> None:
    ours = by_name["switchyard"]
    report.judge(f"≥ 5,000 requests/s: {ours.per_second():,.0f}", ours.per_second() >= 5000)
    report.judge(f"p50 at one connection ≤ 0.6 ms: {ours.p50_ms():.3f}", ours.p50_ms() <= 0.6)
    report.judge(f"RSS ≤ 150 MiB: {max(ours.rss_mib):.0f}", max(ours.rss_mib) <= 150)
    report.judge(f"nothing failed: {ours.failed()}", ours.failed() == 0)
    if UNWATCHED in by_name:
        # By round, since the two sides of a round had the same machine.
        rounds = zip(ours.many, by_name[UNWATCHED].many, strict=True)
        kept = middle([on.per_second / off.per_second for on, off in rounds])
        report.judge(
            f"with records, sketches and signals ≥ 0.97 of without: {kept:.3f}", kept >= 0.97
        )
    if "vllm-router" in by_name:
        theirs = by_name["vllm-router"].streams_per_second()
        said = f"streams/s ≥ vllm-router's: {ours.streams_per_second():,.0f}, {theirs:,.0f}"
        report.judge(said, ours.streams_per_second() >= theirs)
