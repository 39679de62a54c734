"""Gathering: the metrics of several worker processes, shown as those of one.

Counters and histograms are added over all workers, those that ended included: a sum never goes
back. Gauges are added, or the largest or smallest is taken, as each was declared; only of workers
that live. Reads slates; knows nothing about how workers are started.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from monitoring.metrics import Metrics
from monitoring.slate import Key, Slate

Labels = tuple[tuple[str, str], ...]
_PARENTS = ("switchyard_router_workers", "switchyard_router_worker_restarts")
_Series = dict[tuple[str, Labels], float]


class Gathered:
    """`registry` is what a scrape should show.

    `slates` gives, whenever it is asked, each worker's slate and its process id, None while it has
    no process. `own` are the parent's metrics, of which those about its workers are shown.
    """

    def __init__(
        self,
        slates: Callable[[], Sequence[tuple[Slate, int | None]]],
        own: Metrics,
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Workers(slates))
        self.registry.register(_Processes(slates))
        self.registry.register(_Own(own))


class _Workers(Collector):
    def __init__(self, slates: Callable[[], Sequence[tuple[Slate, int | None]]]) -> None:
        self._slates = slates
        self._declared = Metrics().registry  # names, kinds and texts; its values are not shown

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, _Series] = {}
        for slate, pid in self._slates():
            for key, value in slate.read():
                if key.kind != "gauge" or pid is not None:
                    _merge(merged.setdefault(key.metric, {}), key, value)
        for declared in self._declared.collect():
            series = merged.get(declared.name)
            if series is not None and declared.name not in _PARENTS:
                shown = Metric(declared.name, declared.documentation, declared.type)
                shown.samples = (
                    _histogram(declared.name, series)
                    if declared.type == "histogram"
                    else [Sample(name, dict(labels), v) for (name, labels), v in series.items()]
                )
                yield shown


def _merge(series: _Series, key: Key, value: float) -> None:
    place = (key.sample, key.labels)
    before = series.get(place)
    if before is None:
        series[place] = value
    elif key.kind != "gauge" or key.mode.endswith("sum"):
        series[place] = before + value
    elif key.mode.endswith("min"):
        series[place] = min(before, value)
    else:
        series[place] = max(before, value)


def _histogram(name: str, series: _Series) -> list[Sample]:
    """Slots count each bucket for itself; what is shown counts everything up to its bound."""
    buckets: dict[Labels, list[tuple[float, str, float]]] = {}
    samples: list[Sample] = []
    for (sample, labels), value in series.items():
        if sample.endswith("_bucket"):
            bound = next(v for n, v in labels if n == "le")
            others = tuple(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(others, []).append((float(bound), bound, value))
    for labels, counts in buckets.items():
        shown, reached = dict(labels), 0.0
        for _, bound, value in sorted(counts):
            reached += value
            samples.append(Sample(f"{name}_bucket", {**shown, "le": bound}, reached))
        samples.append(Sample(f"{name}_count", shown, reached))
        samples.append(Sample(f"{name}_sum", shown, series.get((f"{name}_sum", labels), 0.0)))
    return samples


class _Processes(Collector):
    """`process_*` of the parent and its workers together; the CPU time of ended ones stays in."""

    def __init__(self, slates: Callable[[], Sequence[tuple[Slate, int | None]]]) -> None:
        self._slates = slates

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        pids = [os.getpid(), *(pid for _, pid in self._slates() if pid is not None)]
        total: dict[str, Metric] = {}
        for pid in pids:
            for metric in ProcessCollector(pid=_constant(pid), registry=None).collect():
                known = total.setdefault(metric.name, metric)
                if known is metric:
                    continue
                (old,), (new,) = known.samples, metric.samples
                adds = not metric.name.endswith(("start_time_seconds", "max_fds"))
                value = old.value + new.value if adds else min(old.value, new.value)
                known.samples = [old._replace(value=value)]
        cpu = total.get("process_cpu_seconds")
        if cpu is not None:
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            (sample,) = cpu.samples
            cpu.samples = [sample._replace(value=sample.value + ended.ru_utime + ended.ru_stime)]
        return total.values()


def _constant(pid: int) -> Callable[[], int]:
    return lambda: pid


class _Own(Collector):
    """What only the parent knows."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = metrics.registry

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        return (metric for metric in self._registry.collect() if metric.name in _PARENTS)
