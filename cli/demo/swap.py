"""The second version: swapped in while a crowd asks, and what the crowd saw of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli import lineage
from cli.demo.cast import ACME
from cli.demo.client import Reply
from cli.demo.crowd import Crowd, Part, longest_gap, slowest
from cli.demo.stage import Stage
from cli.demo.story import Story

if TYPE_CHECKING:
    from registry.versions import Version

BEFORE = 60
"""Answers that the crowd gets before the swap is asked for, and again after it."""


def under_load(stage: Stage, story: Story, parts: Sequence[Part], job_id: str) -> None:
    """Ask for the job's version to go live while `parts` ask without pause."""
    registry = stage.registry
    job = registry.jobs.get(job_id)
    assert job.digest is not None
    old = registry.versions.get(str(registry.aliases.get(ACME.name, str(ACME.adapter)).live))
    crowd = Crowd(stage.url, parts)
    crowd.start()
    try:
        crowd.wait_for(BEFORE)
        asked = time.time()
        registry.versions.force(job.digest, "demo")

        def flipped() -> bool:
            version = registry.versions.get(str(job.digest))
            if version.state == "rejected":
                raise story.fail(
                    f"{version.served_name} was rejected: {lineage.summary(version.reasons)}"
                )
            return registry.aliases.get(ACME.name, str(ACME.adapter)).live == job.digest

        stage.wait("the second version live", flipped, 120.0, interval=0.05)
        crowd.wait_for(BEFORE)
        # Until acme's clients have been answered by it, whatever the router's snapshot's age.
        stage.wait(
            "an answer by it",
            lambda: any(r.version == _served(stage, str(job.digest)) for r in crowd.replies),
            30.0,
            interval=0.05,
        )
    finally:
        replies = crowd.stop()
    new = registry.versions.get(job.digest)
    seconds = new.state_at - asked
    failed = [reply for reply in replies if not reply.good]
    fallen = [reply for reply in replies if reply.good and reply.fallback not in ("", "none")]
    late = not_live(replies, registry.versions.all(ACME.name, ACME.adapter))
    by = {
        version.served_name: sum(reply.version == version.served_name for reply in replies)
        for version in (old, new)
    }
    story.say(
        f"  {len(parts)} clients, {len(replies)} answers; acme's by "
        + ", then ".join(f"{name}: {count}" for name, count in by.items())
    )
    for reply in failed[:3]:
        story.say(f"  [red]{reply.tenant}: status {reply.status}: {reply.error}[/]")
    story.check("swap under load: failed responses", not failed, str(len(failed)))
    story.check(
        "swap under load: answers by a version that was not live",
        not late,
        str(len(late)),
    )
    story.check("swap under load: answers that fell back", not fallen, str(len(fallen)))
    story.figure("swap under load: from candidate to live", f"{seconds:.2f} s")
    story.figure(
        "swap under load: longest time without any answer, slowest answer",
        f"{longest_gap(replies):.2f} s, {slowest(replies):.2f} s",
    )
    story.figures["swap_under_load"] = {
        "clients": len(parts),
        "answers": len(replies),
        "failed": len(failed),
        "not_live": len(late),
        "fell_back": len(fallen),
        "candidate_to_live_s": round(seconds, 3),
        "longest_gap_s": round(longest_gap(replies), 3),
        "slowest_s": round(slowest(replies), 3),
        "answers_by": by,
    }


def not_live(replies: Sequence[Reply], versions: Sequence[Version]) -> list[Reply]:
    """Answers that name a version which was at no moment live between asking and answer.

    A version is live from the swap until it is retired, which is after its last request. Which one
    answers is chosen when the router has read a request, a little after the client began to ask.
    """
    spans: dict[str, tuple[float, float]] = {}
    for version in versions:
        began = float(version.certificate.get("at", version.state_at))
        ended = version.state_at if version.state == "retired" else float("inf")
        spans[version.served_name] = (min(began, version.state_at), ended)
    late = []
    for reply in replies:
        if reply.tenant != ACME.name or not reply.good:
            continue
        start, end = spans.get(reply.version, (float("inf"), 0.0))
        if reply.ended < start or reply.began > end:
            late.append(reply)
    return late


def certified(certificate: dict[str, Any]) -> tuple[str, str]:
    """(parity, effect): mean |Δ logprob| a token, the worst and the least of all engines."""
    engines = [found for found in (certificate.get("engines") or {}).values()]
    if not engines:
        return "–", "–"
    parity = max(float(found.get("parity_mean", 0.0)) for found in engines)
    effect = min(float(found.get("effect_mean", 0.0)) for found in engines)
    return f"{parity:.2g}", f"{effect:.2g}"


def _served(stage: Stage, digest: str) -> str:
    return stage.registry.versions.get(digest).served_name
