"""What a retraining was expected to bring, and what it brought. Figures only, no text.

A receipt that is scored afterwards shows whether the rule that fired was a good one.
"""

from __future__ import annotations

from typing import Any

from registry import Registry
from registry.decisions import Decision
from registry.errors import NotFound


def expected_gain(registry: Registry, tenant: str, adapter: str) -> dict[str, Any]:
    """How often the answers that were given are what people corrected them to, of the corrections
    that wait.

    `exact_on_corrected` is the share that was right already; one less it is the most that training
    on them can bring on prompts like these. Answers that were not kept can't be compared.
    """
    found = registry.corrections.answers(tenant, adapter)
    if not found:
        return {"compared": 0}
    share = sum(answer.strip() == better.strip() for answer, better in found) / len(found)
    return {
        "compared": len(found),
        "exact_on_corrected": round(share, 4),
        "gain_at_most": round(1.0 - share, 4),
    }


def realised_gain(registry: Registry, receipt: Decision) -> dict[str, Any] | None:
    """How a retraining ended, or None while that is open.

    The gain is the new version's share of exact answers less its parent's, both on the retraining's
    held-out part (`Version.evaluation`). Where it was asked for on corrected rows (the job's
    `gain_on`), it is the gain in score on those: that is what was expected.
    """
    if receipt.job_id is None:
        return {"outcome": "no-job"}
    try:
        job = registry.jobs.get(receipt.job_id)
    except NotFound:
        return {"outcome": "job-gone"}
    if job.state in ("failed", "cancelled"):
        return {"outcome": f"job-{job.state}", "code": (job.error or {}).get("code")}
    if job.state != "succeeded" or job.digest is None:
        return None
    try:
        version = registry.versions.get(job.digest)
    except NotFound:
        return {"outcome": "version-gone"}
    if version.state not in ("live", "retired", "rejected"):
        return None
    after = _exact(version.evaluation.get("adapter"))
    before = _exact(version.evaluation.get("parent"))
    gain = None if after is None or before is None else round(after - before, 4)
    news = version.reasons.get("gain_on")
    if isinstance(news, dict) and "against_parent" in news:
        gain = round(float(news["against_parent"]["gain"]), 4)
    return {
        "outcome": "rejected" if version.state == "rejected" else "promoted",
        "version": version.served_name,
        "exact_before": before,
        "exact_after": after,
        "gain": gain,
        "n": version.evaluation.get("n"),
        "summary": version.reasons.get("summary"),
    }


def score(registry: Registry, receipt: Decision, realised: dict[str, Any]) -> None:
    """Write down how a retraining ended; unless it was promoted, its corrections wait for another.
    Raises NotFound."""
    with registry.whole():
        registry.decisions.realise(receipt.id, realised)
        if realised["outcome"] != "promoted" and receipt.job_id is not None:
            registry.corrections.release(receipt.job_id)


def _exact(figures: Any) -> float | None:
    found = figures.get("exact") if isinstance(figures, dict) else None
    return float(found) if isinstance(found, int | float) else None
