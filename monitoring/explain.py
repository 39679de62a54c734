"""Why an adapter was, or was not, retrained: the evidence, the rule that holds now, the receipts.

Reads what the controller reads, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitoring import retrain_set, words
from monitoring.retraining import OUTSIDE_THE_RULE
from monitoring.ruling import Ruling, Situation, rule
from monitoring.settings import ControllerSettings
from monitoring.situation import artifact_of, situation_of
from monitoring.watcher import Watcher
from registry import Registry
from registry.adapters import Adapter
from registry.tenants import Tenant
from registry.versions import Version

_LATEST, _CLIENTS = 10, 3


@dataclass(frozen=True)
class Line:
    """A name for what is told, and what is told."""

    what: str
    said: str


@dataclass(frozen=True)
class Explanation:
    """Of one adapter. `ruling` is None while nothing is live."""

    adapter: str
    lines: list[Line]
    ruling: Ruling | None
    history: list[tuple[float, str]]
    """(seconds since the epoch, sentence) of the latest receipts, the newest first."""

    def json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "adapter": self.adapter,
            "evidence": {line.what: line.said for line in self.lines},
            "ruling": None if self.ruling is None else vars(self.ruling),
            "history": [{"at": at, "said": said} for at, said in self.history],
        }


def explain(
    registry: Registry, settings: ControllerSettings, tenant: Tenant, now: float
) -> list[Explanation]:
    """One for each of the tenant's adapters, by name. `now`: seconds since the epoch."""
    adapters = [a for a in registry.adapters.all() if a.tenant == tenant.name]
    return [_of(registry, settings, tenant, adapter, now) for adapter in adapters]


def _of(
    registry: Registry, settings: ControllerSettings, tenant: Tenant, adapter: Adapter, now: float
) -> Explanation:
    names = (tenant.name, adapter.name)
    served = {v.digest: v.served_name for v in registry.versions.all(*names)}
    latest = registry.decisions.page(None, _LATEST, *names)
    history = [(receipt.created_at, words.of_decision(receipt, served)) for receipt in latest]
    watcher = Watcher(registry, settings, *names)
    if watcher.live is None:
        nothing = Line("live", "nothing yet: the controller looks once a version is live")
        return Explanation(adapter.name, [nothing], None, history)
    version = registry.versions.get(watcher.live)
    watcher.artifact = artifact_of(version.certificate.get("again"))
    corrections = registry.corrections.of(*names)
    kept = retrain_set.training_file(registry, tenant.name, watcher.live)
    situation = situation_of(
        registry,
        settings,
        tenant,
        adapter,
        watcher,
        corrections=len(corrections),
        training_file=kept is not None,
        now=now,
    )
    lines = [
        Line("live", served.get(watcher.live, watcher.live[:12])),
        Line("pipeline", _pipeline(watcher)),
        Line("artifact", _artifact(version, now)),
        *_clients(watcher),
        Line("prompts", _prompts(watcher, settings)),
        *_answers(watcher),
        Line("dislike", _dislike(watcher)),
        *_against_base(watcher),
        *_candidate(situation, tenant),
        Line("corrections", _waiting(situation)),
        *_useless(registry.corrections.unusable(*names)),
    ]
    if situation.failures:
        lines.append(Line("failures", f"the last {situation.failures} retrainings came to nothing"))
    ruling = _held(watcher, registry) or rule(situation, settings)
    return Explanation(adapter.name, lines, ruling, history)


def _held(watcher: Watcher, registry: Registry) -> Ruling | None:
    """What the controller holds back although every rule allows it, as its receipt says."""
    held = watcher.memory.get("held")
    if held not in OUTSIDE_THE_RULE:
        return None
    holds = registry.decisions.page(None, _LATEST, watcher.tenant, watcher.adapter, "hold")
    found = (str(d.evidence.get("reason", "")) for d in holds if d.rule == held)
    return next((Ruling("hold", held, reason) for reason in found), None)


def _waiting(situation: Situation) -> str:
    said = f"{situation.corrections} that no training has used"
    return f"{said}, {situation.of_drift} to prompts since drift began" if situation.drift else said


def _candidate(situation: Situation, tenant: Tenant) -> list[Line]:
    if situation.candidate is None:
        return []
    said = f"{situation.candidate} is on its way to traffic"
    if situation.approval:
        on = f"{situation.candidate} --tenant {tenant.name}"
        said = (
            f"{situation.candidate} may go live, and waits for a person's word: "
            f"`switchyard adapter promote {on}`, or `switchyard adapter reject {on}`"
        )
    return [Line("candidate", said)]


def _pipeline(watcher: Watcher) -> str:
    if watcher.integrity.changed:
        return f"messages are built in another way than usual: {watcher.integrity.what}"
    return "as usual" if watcher.integrity.usual else "no usual way of building messages is known"


def _artifact(version: Version, now: float) -> str:
    again = version.certificate.get("again")
    if again is None:
        return "its canary prompts were not asked again since it was certified"
    ago = f"{max(0.0, now - again['at']) / 60:.0f} minutes ago"
    if again["passed"]:
        return f"its canary prompts were answered as when it was certified, {ago}"
    return f"its canary prompts were answered in another way, {ago}: {again['reason']}"


def _clients(watcher: Watcher) -> list[Line]:
    found = watcher.integrity.clients
    said = ", ".join(f"{name} ({share:.0%})" for name, share in found[:_CLIENTS])
    return [Line("clients", f"of late: {said}")] if said else []


def _prompts(watcher: Watcher, settings: ControllerSettings) -> str:
    detector = watcher.detector
    if watcher.integrity.changed:
        return "are not looked at while messages are built in another way than usual"
    if not detector.watching:
        return f"{detector.reference_size} of {settings.reference} for the reference have come"
    figures = f"evidence {detector.statistic:.1f} against a threshold of {detector.threshold:.1f}"
    if detector.established:
        return f"have changed, for good: {figures}"
    if detector.crossed_at is not None:
        return f"may have changed: {figures}"
    return f"as they were when the reference was taken: {figures}"


def _against_base(watcher: Watcher) -> list[Line]:
    stopped = watcher.stopped
    return [
        Line(
            f"base, {channel} answers",
            f"{100 * figures['lately']:+.1f} points of late, {100 * figures['advantage']:+.1f} "
            f"({100 * figures['low']:+.0f} to {100 * figures['high']:+.0f}) by "
            f"{figures['pairs']} pairs: "
            + (
                "the adapter no longer helps"
                if figures["helped"] and stopped
                else "the adapter helps"
                if figures["helped"]
                else "no help has shown here"
            ),
        )
        for channel, figures in watcher.advantage.evidence().items()
    ]


def _useless(unusable: Mapping[str, int]) -> list[Line]:
    if not unusable:
        return []
    whys = "; ".join(f"{count}: {why}" for why, count in sorted(unusable.items()))
    count = sum(unusable.values())
    return [Line("of no use", f"{count} corrections can't be trained on ({whys})")]


def _dislike(watcher: Watcher) -> str:
    found = watcher.powered.estimate()
    if found.share is None:
        return "nobody has said anything of its answers"
    return (
        f"{found.share:.1%} of answers ({found.low:.0%} to {found.high:.0%}), if those who speak "
        f"are like the others: {found.words} words on {found.answers} answers"
    )


def _answers(watcher: Watcher) -> list[Line]:
    found = watcher.quality.evidence()
    if not found:
        return [Line("answers", "too few since the promotion to say what is usual")]
    return [
        Line(
            f"{channel} answers",
            f"{figures['lately']:.1%} of late, {figures['usual']:.1%} after the promotion: "
            + ("worse" if channel == watcher.worse else "no worse, as far as is known"),
        )
        for channel, figures in found.items()
    ]
