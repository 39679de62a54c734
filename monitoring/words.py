"""A decision's receipt as one sentence for people. Pure: knows rows' fields, prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.decisions import ACCEPT, Decision


def of_decision(decision: Decision, names: Mapping[str, str]) -> str:
    """What was decided and why; `names` are served names by digest. What a receipt does not say is
    left out."""
    evidence = decision.evidence
    name = names.get(decision.digest or "", (decision.digest or "")[:12] or decision.adapter)
    match decision.kind:
        case "promote":
            after = f", {evidence['seconds']:.1f} s after" if "seconds" in evidence else ""
            said = f": {evidence['reason']}" if "reason" in evidence else _because(decision.rule)
            return f"{name} went live{after}{said}"
        case "reject":
            return f"{name} gets no traffic: {evidence.get('summary') or _reason(decision)}"
        case "shadow":
            return f"{name} gets copies of requests, and answers nobody: {_reason(decision)}"
        case "canary":
            weight = evidence.get("weight") or 0.0
            return f"{name} answers {weight:.0%} of requests: {_reason(decision)}"
        case "ask" if decision.rule == ACCEPT:
            return f"{decision.by} asked that what there is counts as usual"
        case "ask":
            return f"{decision.by} asked for a retraining"
        case "watch" if decision.rule == "accepted":
            return f"traffic and answers as they are count as usual from here: {_reason(decision)}"
        case "watch" if decision.rule == "pipeline-accepted":
            return f"messages are built in a new way: {_reason(decision)}"
        case "watch":
            return f"prompts have changed: {_drift(evidence)}"
        case "hold" if decision.rule.startswith("rollout-"):
            return f"{name} goes no further meanwhile: {_reason(decision)}"
        case "hold" if decision.rule == "waiting-for-approval":
            return f"{name} may go live, and waits for a person's word: {_reason(decision)}"
        case "hold":
            return f"no retraining: {_reason(decision)}"
        case "retrain":
            parts = [f"a retraining was queued: {_reason(decision)}", *_gains(decision)]
            return "; ".join(parts)
        case "rollback" if "alias" not in evidence:
            return f"{name} was taken back: {_reason(decision)}"
        case "rollback":
            before = names.get(str(evidence.get("from")), str(evidence.get("from"))[:12])
            return f"{evidence.get('alias')} went back from {before} to {name}"
    return f"{decision.kind} of {name}{_because(decision.rule)}"


def _because(rule: str) -> str:
    return f" ({rule})" if rule else ""


def _reason(decision: Decision) -> str:
    return str(decision.evidence.get("reason") or decision.rule)


def _drift(evidence: Mapping[str, Any]) -> str:
    statistic, threshold = evidence.get("statistic"), evidence.get("threshold")
    if statistic is None or threshold is None:
        return "the drift test's threshold was crossed"
    return f"evidence {statistic:.1f} against a threshold of {threshold:.1f}"


def _gains(decision: Decision) -> list[str]:
    """Expected, and what came of it."""
    told = []
    expected = decision.expected.get("gain_at_most")
    if expected is not None:
        told.append(f"expected at most {100 * expected:+.0f} points")
    realised = decision.realised
    if realised is None:
        return [*told, "not scored yet"]
    told.append(str(realised.get("outcome", "over")).replace("-", " "))
    if realised.get("gain") is not None:
        told.append(f"gained {100 * realised['gain']:+.0f} points on held-out rows")
    return told
