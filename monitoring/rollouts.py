"""Rollouts: what the loop trained takes over step by step, or is stopped before it does harm.

Looks at one adapter's rows, asks `rollout.next_step`, and does what it says. Keeps nothing but when
it looked at what waits for a person's word: where a challenger stands is in its alias (shadow,
canary, weight) and its receipts, and the evidence is computed from exchanges each time. A step and
its receipt are one transaction: a controller that is killed has done both or neither.

The engine's effect and parity check stays the swapper's (serve/): a challenger meets no traffic
before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from monitoring import harms
from monitoring.comparison import CHALLENGER, CHAMPION, Reading, compare
from monitoring.harms import CHANNELS
from monitoring.metrics import Metrics
from monitoring.rollout import Step, Trial, next_step
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.adapters import Adapter
from registry.aliases import Alias
from registry.decisions import Decision
from registry.errors import InvalidTransition, NotFound
from registry.news import Standing
from registry.outcomes import Outcome
from registry.tenants import Tenant
from registry.versions import ON_ITS_WAY, Version

log = structlog.get_logger("switchyard.rollouts")

_LOOKED_AT = 200
"""Receipts, the newest: more than a rollout leaves."""
_STEPS = ("shadow", "canary", "promote", "reject", "rollback")
_KINDS = (*_STEPS, "hold")
APPROVAL = "waiting-for-approval"
"""The rule of the hold of a version that may go live and whose tenant wants a person's word."""
_WAITING_S = 60.0
"""Between two looks at what waits for a person's word: all its answers are read in each."""
_CANARY_UNAVAILABLE = "canary-unavailable"
"""router.fallback's word for a canary that could not answer: the live version did."""


def is_staged(registry: Registry, tenant: Tenant, version: Version) -> bool:
    """Whether a version goes to traffic by steps: the loop trained it, its tenant wants it so, and
    another version is live that it would replace."""
    return tenant.rollout == "staged" and _is_retrained(registry, version)


def waits(version: Version | Standing, receipts: Iterable[Decision]) -> bool:
    """Whether a version waits for a person's word; `receipts` of its adapter, the newest first."""
    if version.state not in ON_ITS_WAY or version.reasons.get("requested_by"):
        return False
    latest = _latest(receipts, version)
    return latest is not None and (latest.kind, latest.rule) == ("hold", APPROVAL)


def _latest(receipts: Iterable[Decision], version: Version | Standing) -> Decision | None:
    mine = (d for d in receipts if d.digest == version.digest and d.kind in _KINDS)
    return next(mine, None)


def _is_retrained(registry: Registry, version: Version) -> bool:
    """Whether the loop trained it, and another version is live."""
    if version.job_id is None:
        return False
    try:
        if registry.jobs.get(version.job_id).trigger != "controller":
            return False
    except NotFound:
        return False
    aliases = registry.aliases.of_adapter(version.tenant, version.adapter)
    return any(alias.live not in (None, version.digest) for alias in aliases)


class Rollouts:
    """The rollouts of all adapters. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        registry: Registry,
        settings: ControllerSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._looked: dict[str, float] = {}
        """When answers of those that wait for a person's word were last read, by digest."""

    def attend(
        self, tenant: Tenant, adapter: Adapter, broken: tuple[str, str] | None = None
    ) -> None:
        """Take one adapter's challenger a step further, if there is one. Raises the registry's.

        Where the tenant wants a person's word, it gets as far as that. `broken`: rule and reason
        why answers prove nothing now. Then nothing goes further; harm, in which both versions are
        alike, still rejects.
        """
        aliases = self._registry.aliases.of_adapter(tenant.name, adapter.name)
        if not any(alias.live for alias in aliases):
            return
        receipts = self._registry.decisions.page(None, _LOOKED_AT, tenant.name, adapter.name)
        self._finish(aliases, receipts)
        challenger = self._challenger(adapter)
        if challenger is None:
            return
        on = [a for a in aliases if challenger.digest in (a.shadow, a.canary)]
        if challenger.state != "candidate" and not on:  # a person took it off its traffic
            if waits(challenger, receipts):
                no = Step("reject", "declined", "a person took it off its traffic")
                self._reject(challenger, Trial("canary", None, True, 0, 0.0, {}), no)
            return
        if tenant.rollout != "staged":
            if challenger.state == "candidate" and not tenant.auto_promote:
                self._hold(challenger, receipts, APPROVAL, {"reason": "its evaluation is good"})
            return  # what is on its way there, a person put there
        if not tenant.auto_promote and self._was_seen(challenger, receipts):
            return
        mine = [d for d in receipts if d.digest == challenger.digest and d.kind in _STEPS]
        trial = self._trial(challenger, on, mine)
        step = next_step(trial, self._settings.rollout)
        if step.kind == "reject":
            self._reject(challenger, trial, step)
        elif step.kind == "wait":
            return
        elif broken is not None:
            self._hold(challenger, receipts, f"rollout-{broken[0]}", {"reason": broken[1]})
        elif step.kind == "promote" and not tenant.auto_promote:
            evidence = {"reason": step.reason, **_shown(trial)}
            self._hold(challenger, receipts, APPROVAL, evidence)
        elif step.kind == "promote":
            self._promote(challenger, aliases, trial, step)
        else:
            self._enter(challenger, aliases, trial, step)

    def _was_seen(self, challenger: Version, receipts: Iterable[Decision]) -> bool:
        """Whether it waits for a person's word, and was looked at a moment ago: harm would show."""
        if not waits(challenger, receipts):
            self._looked.pop(challenger.digest, None)
            return False
        now = self._clock()
        if now - self._looked.get(challenger.digest, -math.inf) < _WAITING_S:
            return True
        self._looked[challenger.digest] = now
        return False

    def _challenger(self, adapter: Adapter) -> Version | None:
        """The one under way, or else the oldest that waits."""
        versions = self._registry.versions.all(adapter.tenant, adapter.name)
        for states in (("shadow", "canary"), ("candidate",)):
            for version in sorted(versions, key=lambda v: (v.state_at, v.digest)):
                if (
                    version.state in states
                    and (version.state != "candidate" or version.verdict == "promote")
                    and not version.reasons.get("requested_by")
                    and _is_retrained(self._registry, version)
                ):
                    return version
        return None

    def _trial(
        self, challenger: Version, on: Sequence[Alias], receipts: Sequence[Decision]
    ) -> Trial:
        if not on:
            return Trial("new", None, bool(challenger.certificate), 0, 0.0, {})
        weights = [a.canary_weight for a in on if a.canary == challenger.digest]
        stage, weight = ("canary", min(weights)) if weights else ("shadow", None)
        steps = [d for d in receipts if d.kind in ("shadow", "canary")]
        last = steps[0] if steps else None
        if last is None or (last.kind, last.evidence.get("weight")) != (stage, weight):
            # A person moved it.
            last = self._record(challenger, stage, "found-there", {"weight": weight})
            steps = [last, *steps]
        outcomes = self._registry.outcomes.of(
            challenger.tenant, challenger.adapter, steps[-1].created_at
        )
        role = "canary" if stage == "canary" else "shadow"
        answers = sum(
            o.digest == challenger.digest and o.role == role and o.created_at >= last.created_at
            for o in outcomes
        )
        champion = next((a.live for a in on if a.live), None)
        return Trial(
            stage=stage,
            weight=weight,
            certified=bool(challenger.certificate),
            answers=answers,
            since_s=self._clock() - last.created_at,
            readings=readings(outcomes, champion, challenger.digest, self._settings.rollout.margin),
        )

    def _enter(
        self, challenger: Version, aliases: Iterable[Alias], trial: Trial, step: Step
    ) -> None:
        fields: dict[str, object]
        if step.kind == "shadow":
            fields = {
                "shadow": challenger.digest,
                "shadow_share": self._settings.rollout_shadow_share,
            }
            weight = None
        else:
            weight = step.weight
            fields = {"shadow": None, "canary": challenger.digest, "canary_weight": weight}
        evidence = {"weight": weight, "reason": step.reason, **_shown(trial)}
        with self._registry.whole():
            for alias in aliases:
                if alias.live is not None:
                    self._registry.aliases.update(alias.tenant, alias.name, **fields)
            self._record(challenger, step.kind, step.rule, evidence)

    def _promote(
        self, challenger: Version, aliases: Iterable[Alias], trial: Trial, step: Step
    ) -> None:
        with self._registry.whole():
            for alias in aliases:
                if alias.live is not None:
                    self._flip(alias, challenger.digest)
            evidence = {"reason": step.reason, **_shown(trial)}
            self._record(challenger, "promote", step.rule, evidence)
        self._metrics.swaps_total.labels("promoted").inc()

    def _reject(self, challenger: Version, trial: Trial, step: Step) -> None:
        summary = {"rejected_because": f"stopped in its rollout: {step.reason}"}
        evidence = {"weight": trial.weight, "reason": step.reason, **_shown(trial)}
        try:
            with self._registry.whole():
                self._take_off(challenger)
                self._registry.versions.move(challenger.digest, "rejected", summary)
                self._record(challenger, "reject", step.rule, evidence)
        except InvalidTransition:  # a person was faster
            return
        self._metrics.swaps_total.labels("rejected").inc()

    def _hold(
        self, challenger: Version, receipts: Iterable[Decision], rule: str, evidence: dict[str, Any]
    ) -> None:
        """Leave a receipt of what keeps it where it is, unless that is its latest."""
        latest = _latest(receipts, challenger)
        if latest is None or (latest.kind, latest.rule) != ("hold", rule):
            self._record(challenger, "hold", rule, evidence)

    def _finish(self, aliases: Sequence[Alias], receipts: Sequence[Decision]) -> None:
        """Do what follows from a state that a person gave to a version on its way."""
        seen: set[str] = set()
        for receipt in receipts:  # the newest first
            digest = receipt.digest
            if digest is None or digest in seen or receipt.kind not in _STEPS:
                continue
            seen.add(digest)
            if receipt.kind not in ("shadow", "canary"):
                continue
            try:
                version = self._registry.versions.get(digest)
            except NotFound:
                continue
            reason = {"reason": f"it was made {version.state} by other hands"}
            with self._registry.whole():
                if version.state == "rejected":
                    self._take_off(version)
                    self._record(version, "reject", "rollout-finished", reason)
                elif version.state == "live":
                    for alias in aliases:
                        if alias.live is not None and digest in (alias.canary, alias.shadow):
                            self._flip(alias, digest)
                    self._record(version, "promote", "rollout-finished", reason)

    def _flip(self, alias: Alias, digest: str) -> None:
        self._registry.aliases.flip(alias.tenant, alias.name, digest, at=self._clock())

    def _take_off(self, version: Version) -> None:
        self._registry.aliases.take_off(version.tenant, version.adapter, version.digest)

    def _record(self, version: Version, kind: str, rule: str, evidence: dict[str, Any]) -> Decision:
        receipt = self._registry.decisions.record(
            version.tenant,
            version.adapter,
            kind,
            rule,
            digest=version.digest,
            job_id=version.job_id,
            evidence=evidence,
            at=self._clock(),
        )
        self._metrics.decisions_total.labels(kind).inc()
        log.info(kind, version=version.served_name, tenant=version.tenant, rule=rule)
        return receipt


def readings(
    outcomes: Iterable[Outcome], champion: str | None, challenger: str, margin: float
) -> dict[str, Reading]:
    """By channel (harms.CHANNELS), the comparison of two versions' outcomes."""
    sides: dict[str, list[tuple[str, float]]] = {name: [] for name in CHANNELS}
    outcomes = list(outcomes)
    heard = any((o.corrected, o.rating) != (None, None) for o in outcomes)
    for outcome in outcomes:
        side = _side(outcome, champion, challenger)
        if side is None:
            continue
        for name, harm in _harms(outcome, heard):
            sides[name].append((side, harm))
    return {name: compare(found, margin) for name, found in sides.items() if found}


def _side(outcome: Outcome, champion: str | None, challenger: str) -> str | None:
    if outcome.digest == challenger or outcome.fallback == _CANARY_UNAVAILABLE:
        return CHALLENGER
    if outcome.digest == champion and outcome.role == "live":
        return CHAMPION
    return CHAMPION if outcome.fallback in harms.LIVE_UNAVAILABLE else None


def _harms(outcome: Outcome, heard: bool) -> list[tuple[str, float]]:
    """Most people speak of what was wrong only: where they are `heard`, silence is no harm."""
    found = harms.of_exchange(outcome)
    if found[0][1] or not heard or outcome.role == "shadow":
        return found
    said = harms.of_feedback(outcome.rating, outcome.corrected)
    return [*found, *(said or [(harms.DISLIKED, 0.0)])]


def _shown(trial: Trial) -> dict[str, Any]:
    return {
        "answers": trial.answers,
        "harm": {name: reading.json() for name, reading in trial.readings.items()},
    }
