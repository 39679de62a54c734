"""Retraining: from an adapter's evidence to a decision, and from a decision to a job.

`propose` says what an adapter wants, and leaves a receipt where a rule stands against it. `go`
writes a plan down and carries it out; a plan that a killed controller left is carried out by
`go_on`. A receipt and what is remembered of it are one transaction. Where one fails, a watcher
remembers what was never kept: the caller drops it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from monitoring import retrain_set
from monitoring.metrics import Metrics
from monitoring.receipts import expected_gain, score
from monitoring.ruling import WITHOUT_CORRECTIONS, Ruling, rule
from monitoring.settings import ControllerSettings
from monitoring.situation import base_of, situation_of
from monitoring.watcher import Watcher
from registry import Registry
from registry.adapters import Adapter
from registry.decisions import ACCEPT, CONTROLLER
from registry.errors import InvalidTransition, NotFound, NotServable
from registry.tenants import Tenant

log = structlog.get_logger("switchyard.controller")

_WEEK_S = 7 * 86_400.0
_UNKNOWN_GAIN = 0.5
_ASKS = 20
_OF_ONE_JOB = {"seed", "suffix", "parent", "base", "gain_on"}
"""Options of a job that say nothing of the next one's."""
OUTSIDE_THE_RULE = ("budget", "training-file-unreadable", "corrections-unfit")
"""Rules that hold what `monitoring.ruling.rule` allows."""
_UNDER_WAY = {"job-active", "candidate-waiting"}
"""Rules that follow from a retraining: that it goes on is no news."""


@dataclass(frozen=True)
class Proposal:
    """A retraining that every rule allows. `asked`: by a person. Its texts are read when it goes:
    it may be held by the budget for long, and is made anew in each look."""

    watcher: Watcher
    adapter: Adapter
    ruling: Ruling
    training_file: str
    asked: bool


class Retraining:
    """Decisions about retraining. `clock` gives seconds since the epoch."""

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
        self._bases: dict[str, str | None] = {}

    def propose(self, tenant: Tenant, adapter: Adapter, watcher: Watcher) -> Proposal | None:
        """What the evidence asks for, if nothing stands against it; a rollback is done at once."""
        live = watcher.live
        assert live is not None
        if not self.anything(adapter, watcher):
            if watcher.memory.pop("held", None) is not None:
                watcher.save()
            return None
        file_id = retrain_set.training_file(self._registry, watcher.tenant, live)
        situation = situation_of(
            self._registry,
            self._settings,
            tenant,
            adapter,
            watcher,
            corrections=self._registry.corrections.count(watcher.tenant, watcher.adapter),
            training_file=file_id is not None,
            now=self._clock(),
        )
        ruling = rule(situation, self._settings)
        if ruling.kind == "none":
            return None
        if ruling.kind == "rollback":
            self._roll_back(watcher, ruling)
            return None
        if ruling.kind == "hold" or file_id is None:
            self.hold(watcher, ruling.rule, ruling.reason)
            return None
        return Proposal(watcher, adapter, ruling, file_id, situation.asked_by is not None)

    def worth(self, proposal: Proposal) -> float:
        """Expected gain × requests of the last week; infinite for what a person asked for."""
        if proposal.asked:
            return math.inf
        names = (proposal.watcher.tenant, proposal.watcher.adapter)
        expected = expected_gain(self._registry, *names)
        served = self._registry.exchanges.served(*names, self._clock() - _WEEK_S)
        gain = float(expected.get("gain_at_most", _UNKNOWN_GAIN))
        return gain * max(1, sum(row.requests for row in served))

    def hold(self, watcher: Watcher, name: str, reason: str) -> None:
        """Leave a receipt of what stands against a retraining, once for each change of it."""
        before = watcher.memory.get("held")
        if before == name or {before, name} <= _UNDER_WAY:
            return
        watcher.memory["held"] = name
        self.record(watcher, "hold", name, {"reason": reason})

    def go(self, proposal: Proposal) -> bool:
        """Write the plan down, and carry it out; False where that is held, since the old rows can't
        be read."""
        watcher = proposal.watcher
        old = retrain_set.old_rows(self._registry, watcher.tenant, proposal.training_file)
        if old is None:
            why = "the live version's training file can't be read"
            self.hold(watcher, "training-file-unreadable", why)
            return False
        corrections = self._registry.corrections.of(watcher.tenant, watcher.adapter)
        news = f"corrected-{watcher.epoch}"
        options = self._options(watcher, proposal.adapter)
        objective = str(options.get("objective", "sft"))
        given = self._registry.corrections.given(watcher.tenant, watcher.adapter)
        made = retrain_set.build(old, corrections, news, objective=objective, given=given)
        needed = proposal.ruling.rule not in WITHOUT_CORRECTIONS
        if needed and corrections and not made.corrected:
            why = f"none of the {len(corrections)} corrections is one to learn from by {objective}"
            self.hold(watcher, "corrections-unfit", why)
            return False
        golden = retrain_set.validation_file(self._registry, watcher.tenant, watcher.live or "")
        attempt = int(watcher.memory.get("attempts", 0))
        digest = self._registry.store.put_blob(made.data)
        key = f"retrain:{watcher.tenant}:{watcher.adapter}:{watcher.epoch}"
        plan = {
            "key": key if attempt == 0 else f"{key}:{attempt + 1}",
            "spec": {
                **options,
                "parent": watcher.live,
                "keep_good_rows": True,
                **({"gain_on": news} if made.held_out else {}),
            },
            "validation_file": golden,
            "feedback": [row.id for row in corrections],
            "rule": proposal.ruling.rule,
            "evidence": {
                **self._evidence(watcher),
                "reason": proposal.ruling.reason,
                "dataset_sha256": made.digest,
                "rows": made.sources,
                "attempt": attempt + 1,
            },
            "expected": expected_gain(self._registry, watcher.tenant, watcher.adapter),
            "at": self._clock(),
        }
        name = f"retrain-{watcher.adapter}-{watcher.epoch}.jsonl"
        with self._registry.whole():
            file = self._registry.files.add(watcher.tenant, name, digest, len(made.data))
            watcher.memory["pending"] = {**plan, "file": file.id}
            watcher.save()
        self.go_on(watcher)
        return True

    def _options(self, watcher: Watcher, adapter: Adapter) -> dict[str, Any]:
        """How the adapter is trained; one that has no options of its own is trained as its live
        version was, whose job came with them (the fine-tuning API)."""
        if adapter.training:
            return dict(adapter.training)
        job_id = self._registry.versions.get(str(watcher.live)).job_id
        spec = self._registry.jobs.get(job_id).spec if job_id is not None else {}
        return {name: value for name, value in spec.items() if name not in _OF_ONE_JOB}

    def go_on(self, watcher: Watcher) -> None:
        """Carry out what was written down, if anything is."""
        if "back" in watcher.memory:
            try:
                with self._registry.whole():
                    self._carry_back(watcher)
            except (InvalidTransition, NotFound, NotServable) as error:  # gone since it was decided
                names = {"tenant": watcher.tenant, "adapter": watcher.adapter}
                log.warning("not rolled back", **names, why=str(error))
                watcher.memory.pop("back")
                watcher.save()
        if "pending" in watcher.memory:
            with self._registry.whole():
                self._carry_out(watcher)

    def record(
        self, watcher: Watcher, kind: str, rule_name: str, extra: dict[str, Any] | None = None
    ) -> None:
        """Leave a receipt about the live version, with all evidence there is, and keep what the
        watcher knows."""
        with self._registry.whole():
            self._registry.decisions.record(
                watcher.tenant,
                watcher.adapter,
                kind,
                rule_name,
                digest=watcher.live,
                evidence={**self._evidence(watcher), **(extra or {})},
                at=self._clock(),
            )
            watcher.save()
        self._metrics.decisions_total.labels(kind).inc()
        log.info(kind, tenant=watcher.tenant, adapter=watcher.adapter, rule=rule_name)

    def anything(self, adapter: Adapter, watcher: Watcher) -> bool:
        """Whether it is worth asking the registry for the rest: mostly it is not."""
        age = self._clock() - float(watcher.memory.get("since") or self._clock())
        return (
            watcher.drifted
            or watcher.failing.down
            or watcher.worse is not None
            or watcher.stopped is not None
            or watcher.integrity.changed
            or watcher.artifact is not None
            or self._is_asked(watcher)
            or self._base(watcher) not in (None, adapter.base)
            or 0 < self._settings.retrain_age_s <= age
        )

    def _is_asked(self, watcher: Watcher) -> bool:
        """Whether somebody, or an alert of this version's, wished for a retraining since the last
        one."""
        page, names = self._registry.decisions.page, (watcher.tenant, watcher.adapter)
        asks = [ask for ask in page(None, _ASKS, *names, "ask") if ask.rule != ACCEPT]
        done = page(None, 1, *names, "retrain") if asks else []
        after = done[0].created_at if done else 0.0
        since = float(watcher.memory.get("since") or 0.0)
        return any(
            ask.created_at >= (max(after, since) if ask.rule == "alert" else after) for ask in asks
        )

    def _base(self, watcher: Watcher) -> str | None:
        """The base that the live version was trained for."""
        live = watcher.live
        assert live is not None
        if live not in self._bases:
            self._bases[live] = base_of(self._registry, live)
        return self._bases[live]

    def _evidence(self, watcher: Watcher) -> dict[str, Any]:
        found = {**watcher.detector.evidence(), "epoch": watcher.epoch}
        quality = watcher.quality.evidence()
        if quality:
            found["quality"] = quality
        if watcher.failing.down:
            found["failed"] = watcher.failing.figures()
        said = watcher.powered.evidence()
        if said:
            found["disliked"] = said
        against = watcher.advantage.evidence()
        if against:
            found["against_base"] = against
        if watcher.integrity.changed:
            found["pipeline"] = watcher.integrity.what
        if watcher.artifact is not None:
            found["artifact"] = watcher.artifact
        found["changed"] = watcher.changed
        return found

    def _carry_out(self, watcher: Watcher) -> None:
        plan: dict[str, Any] = watcher.memory["pending"]
        tenant, adapter = watcher.tenant, watcher.adapter
        job = self._registry.jobs.enqueue(
            tenant,
            adapter,
            plan["file"],
            spec=plan["spec"],
            validation_file=plan.get("validation_file"),
            trigger="controller",
            idempotency_key=plan["key"],
        )
        self._registry.corrections.mark_used(plan["feedback"], job.id)
        done = self._registry.decisions.all(tenant, adapter, "retrain")
        if all(receipt.job_id != job.id for receipt in done):
            self._registry.decisions.record(
                tenant,
                adapter,
                "retrain",
                plan["rule"],
                digest=plan["spec"]["parent"],
                job_id=job.id,
                evidence=plan["evidence"],
                expected=plan["expected"],
                at=plan["at"],
            )
            self._metrics.decisions_total.labels("retrain").inc()
        log.info("retraining", tenant=tenant, adapter=adapter, job=job.id, key=plan["key"])
        memory = {k: v for k, v in watcher.memory.items() if k not in ("pending", "held")}
        watcher.memory = {
            **memory,
            "attempts": int(memory.get("attempts", 0)) + 1,
            "last_retrain": plan["at"],
            "held": "job-active",  # that a job works now is no news: its receipt has just said so
        }
        watcher.save()

    def _roll_back(self, watcher: Watcher, ruling: Ruling) -> None:
        watcher.memory["back"] = {
            "digest": watcher.live,
            "rule": ruling.rule,
            "evidence": {**self._evidence(watcher), "reason": ruling.reason},
        }
        watcher.save()
        self.go_on(watcher)

    def _carry_back(self, watcher: Watcher) -> None:
        plan: dict[str, Any] = watcher.memory["back"]
        tenant, adapter, digest = watcher.tenant, watcher.adapter, plan["digest"]
        for alias in self._registry.aliases.of_adapter(tenant, adapter):
            if alias.live == digest and alias.previous is not None:
                self._registry.aliases.roll_back(tenant, alias.name)
        try:
            version = self._registry.versions.move(
                digest, "rejected", {"rejected_because": plan["evidence"]["reason"]}
            )
        except InvalidTransition:  # done before the controller was killed, or by a person
            version = self._registry.versions.get(digest)
        done = self._registry.decisions.all(tenant, adapter, "rollback")
        if not any((receipt.digest, receipt.by) == (digest, CONTROLLER) for receipt in done):
            self._registry.decisions.record(
                tenant,
                adapter,
                "rollback",
                plan["rule"],
                digest=digest,
                job_id=version.job_id,
                evidence=plan["evidence"],
                at=self._clock(),
            )
            self._metrics.decisions_total.labels("rollback").inc()
        for receipt in self._registry.decisions.all(tenant, adapter, "retrain"):
            if receipt.job_id is not None and receipt.job_id == version.job_id:
                before = receipt.realised or {"version": version.served_name}
                score(self._registry, receipt, {**before, "outcome": "rolled-back"})
        log.warning("rolled back", tenant=tenant, adapter=adapter, version=version.served_name)
        watcher.memory.pop("back")
        watcher.save()
