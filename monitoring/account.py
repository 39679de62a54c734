"""An account of what was served since a time, from the registry alone: plain values for a page.

Traffic, errors, fallbacks, latency, tokens, what people said, versions, decisions, jobs; by tenant.
Knows no HTML, no plots and no Prometheus. Traffic is what reached an engine: requests that were
refused at the door leave no exchange.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from monitoring import objective
from monitoring.interval import wilson
from monitoring.rollouts import waits
from monitoring.rules import AVAILABILITY
from monitoring.standing import JUDGED_S
from monitoring.words import of_decision
from registry import Registry
from registry.decisions import Decision
from registry.history import LOOKED_AT, Answered, Judgement, Past
from registry.job import Job
from registry.versions import Version

_SLOTS = 48
_STEPS_S = (10, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)


def gather(
    registry: Registry,
    since: float,
    until: float,
    tenant: str | None = None,
    price_per_million: float | None = None,
) -> dict[str, Any]:
    """The account of one tenant or all, between two times (seconds since the epoch).

    `complete` is False where there were more requests than are looked at: then traffic is that of
    the newest. Raises NotFound (the tenant).
    """
    names = [found.name for found in registry.tenants.all()]
    if tenant is not None:
        names = [registry.tenants.get(tenant).name]
    requests = registry.history.requests(since, tenant)
    step = step_of(until - (requests[0].at if requests else since))
    served: dict[str, list[Past]] = {name: [] for name in names}
    for past in requests:
        served.setdefault(past.tenant, []).append(past)
    said = registry.history.judgements(since - JUDGED_S, tenant)
    judged = [one for one in said if one.at >= since]
    answered = registry.history.answered(until - 2 * objective.WINDOW_S, objective.STEP_S, tenant)
    receipts = registry.decisions.all(tenant)
    decisions = [d for d in receipts if d.created_at >= since]
    jobs = [job for job in registry.jobs.all(tenant) if job.created_at >= since]
    versions = registry.versions.all(tenant)
    served_names = {version.digest: version.served_name for version in versions}
    return {
        "since": since,
        "until": until,
        "step_s": step,
        "complete": len(requests) < LOOKED_AT,
        "price_per_million": price_per_million,
        "tenants": [
            {
                "tenant": name,
                **traffic(served[name], price_per_million),
                "error_budget": error_budget([a for a in answered if a.tenant == name], until),
                "over_time": over_time(served[name], step, served_names),
                "quality": quality([j for j in judged if j.tenant == name]),
                "quality_over_time": quality_over_time(
                    [j for j in said if j.tenant == name], since, until, step
                ),
                "adapters": _adapters(registry, name, versions, served[name], judged, receipts),
                "decisions": [_decision(d, versions) for d in decisions if d.tenant == name],
                "jobs": [_job(job, versions) for job in jobs if job.tenant == name],
            }
            for name in names
        ],
    }


def step_of(seconds: float) -> float:
    """The length of a slot, in seconds, so that a time has at most 48 of them or a week each."""
    return float(next((step for step in _STEPS_S if seconds / step <= _SLOTS), _STEPS_S[-1]))


def traffic(requests: Sequence[Past], price_per_million: float | None = None) -> dict[str, Any]:
    """Sums and percentiles. Errors are 5xx; times are of answered requests. The cost is by the
    price of a million tokens, else what the router noted, None where it was told no prices."""
    prompt = sum(past.prompt_tokens for past in requests)
    completion = sum(past.completion_tokens for past in requests)
    paid = [past.cost for past in requests if past.cost is not None]
    cost = sum(paid) if paid else None
    if price_per_million is not None:
        cost = (prompt + completion) * price_per_million / 1e6
    answered = [past for past in requests if past.status < 400]
    return {
        "requests": len(requests),
        "errors": sum(past.status >= 500 for past in requests),
        "fallbacks": dict(Counter(past.fallback for past in requests if past.fallback)),
        "tokens": {"prompt": prompt, "completion": completion},
        "cost": cost,
        "latency_ms": percentiles(past.latency_ms for past in answered),
        "first_token_ms": percentiles(p.ttft_ms for p in answered if p.ttft_ms is not None),
        "queue_ms": percentiles(past.queue_ms for past in answered),
        "statuses": {
            str(status): count
            for status, count in sorted(Counter(past.status for past in requests).items())
            if status >= 400
        },
        "stages_ms": stages(answered),
        "out_of_form": share(past.valid is False for past in answered if past.valid is not None),
        "refused": share(past.refused for past in answered if past.refused is not None),
    }


def stages(answered: Iterable[Past]) -> dict[str, float] | None:
    """Where the mean stream's time goes, in milliseconds; None without one."""
    streams = [
        (past.queue_ms, past.prefill_ms, past.decode_ms)
        for past in answered
        if past.prefill_ms is not None and past.decode_ms is not None
    ]
    if not streams:
        return None
    means = (sum(times) / len(streams) for times in zip(*streams, strict=True))
    return dict(zip(("queue", "prefill", "decode"), (round(m, 3) for m in means), strict=True))


def share(cases: Iterable[bool | None]) -> float | None:
    """Of the cases, those that are so; None without any."""
    found = [*cases]
    return sum(map(bool, found)) / len(found) if found else None


def over_time(
    requests: Sequence[Past], step: float, names: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """A row of figures for each slot of `step` seconds in which there was traffic; `at` begins
    it. `by` counts the answers of each version (`names` by digest) and of the base."""
    slots: dict[float, list[Past]] = defaultdict(list)
    for past in requests:
        slots[past.at // step * step].append(past)
    return [
        {"at": at, **traffic(slots[at]), "by": answered_by(slots[at], names or {})}
        for at in sorted(slots)
    ]


def answered_by(requests: Iterable[Past], names: Mapping[str, str]) -> dict[str, int]:
    """{served name, or "base": answers}; of requests that failed or were refused, nobody's."""
    return dict(
        Counter(
            "base" if past.digest is None else names.get(past.digest, past.digest[:12])
            for past in requests
            if past.status < 400
        )
    )


def error_budget(answered: Sequence[Answered], until: float) -> dict[str, Any]:
    """What is left of the errors that 30 days allow, now and on the days before (1 is all)."""
    now = objective.budget(answered, until)
    days = objective.over_time(answered, until)
    return {
        **vars(now),
        "objective": AVAILABILITY,
        "over_time": [{"at": day.until, "left": day.left} for day in days],
    }


def percentiles(values: Iterable[float]) -> dict[str, float] | None:
    """p50, p95 and p99; None without values."""
    found = [*values]
    if not found:
        return None
    p50, p95, p99 = np.percentile(found, [50, 95, 99])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "p99": round(float(p99), 3)}


def quality(judged: Sequence[Judgement]) -> dict[str, Any]:
    """Share of judged answers that were called good, with its 95 % interval; None where none was
    judged."""
    good, count = sum(one.good for one in judged), len(judged)
    found = good / count if count else None
    return {"judged": count, "good": good, "share": found, "interval": wilson(found, count)}


def quality_over_time(
    judged: Sequence[Judgement], since: float, until: float, step: float
) -> list[dict[str, Any]]:
    """At the end of each slot, the quality by what was said in the 7 days before: what the gauge
    `switchyard_quality_ratio` showed then. `at` is that end; left out where nobody spoke."""
    ends = [(since // step + number) * step for number in range(1, int((until - since) / step) + 2)]
    told = []
    for end in (min(end, until) for end in ends):
        lately = [one for one in judged if end - JUDGED_S <= one.at <= end]
        if lately:
            told.append({"at": end, **quality(lately)})
    return told


def _adapters(
    registry: Registry,
    tenant: str,
    versions: Sequence[Version],
    requests: Sequence[Past],
    judged: Sequence[Judgement],
    receipts: Sequence[Decision],
) -> list[dict[str, Any]]:
    told = []
    served = Counter(past.digest for past in requests)
    for adapter in registry.adapters.all():
        if adapter.tenant != tenant:
            continue
        own = [v for v in versions if (v.tenant, v.adapter) == (tenant, adapter.name)]
        theirs = [d for d in receipts if (d.tenant, d.adapter) == (tenant, adapter.name)]
        live: dict[str, list[str]] = {}
        for alias in registry.aliases.of_adapter(tenant, adapter.name):
            if alias.live is not None:
                live.setdefault(alias.live, []).append(alias.name)
        waiting = registry.corrections.of(tenant, adapter.name)
        told.append(
            {
                "adapter": adapter.name,
                "corrections_waiting": len(waiting),
                "versions": [
                    {
                        "version": version.served_name,
                        "state": version.state,
                        "alias": ", ".join(live.get(version.digest, [])) or None,
                        "waits": waits(version, theirs),
                        "created_at": version.created_at,
                        "state_at": version.state_at,
                        "verdict": version.verdict,
                        "summary": version.reasons.get("summary"),
                        "exact": (version.evaluation.get("adapter") or {}).get("exact"),
                        "parity": _checked(version, "parity_mean", max),
                        "effect": _checked(version, "effect_mean", min),
                        "requests": served[version.digest],
                        "quality": quality([j for j in judged if j.digest == version.digest]),
                    }
                    for version in own
                ],
            }
        )
    return told


def _checked(
    version: Version, figure: str, worst: Callable[[Iterable[float]], float]
) -> float | None:
    """A figure of the engines' last check of the version, nats a token: of the engine that does
    worst. None where none has checked it."""
    certificate = version.certificate
    engines = (certificate.get("again") or certificate).get("engines") or {}
    found = [float(figures[figure]) for figures in engines.values() if figure in figures]
    return worst(found) if found else None


def _decision(decision: Decision, versions: Sequence[Version]) -> dict[str, Any]:
    names = {version.digest: version.served_name for version in versions}
    return {
        "id": decision.id,
        "at": decision.created_at,
        "adapter": decision.adapter,
        "kind": decision.kind,
        "rule": decision.rule,
        "by": decision.by,
        "version": names.get(decision.digest or ""),
        "words": of_decision(decision, names),
        "evidence": decision.evidence,
        "expected": decision.expected,
        "realised": decision.realised,
    }


def _job(job: Job, versions: Sequence[Version]) -> dict[str, Any]:
    made = next((version for version in versions if version.digest == job.digest), None)
    seconds = None
    if job.started_at is not None and job.finished_at is not None:
        seconds = round(job.finished_at - job.started_at, 1)
    return {
        "id": job.id,
        "adapter": job.adapter,
        "state": job.state,
        "trigger": job.trigger,
        "created_at": job.created_at,
        "seconds": seconds,
        "loss": job.progress.get("loss"),
        "version": made.served_name if made else None,
        "verdict": made.verdict if made else None,
        "summary": made.reasons.get("summary") if made else (job.error or {}).get("message"),
    }
