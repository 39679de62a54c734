"""The outage: vLLM is killed under load; what clients see until it is back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from cli.demo.cast import ACME
from cli.demo.client import Reply
from cli.demo.crowd import Crowd, Part, slowest
from cli.demo.stage import Stage
from cli.demo.story import Story

BEFORE = 60
HANG_S = 15.0
"""A client that waits longer than this for an answer, good or bad, is taken to hang."""


def endure(stage: Stage, story: Story, parts: Sequence[Part]) -> None:
    """Kill vLLM while `parts` ask without pause, and wait until all of them are answered again."""
    crowd = Crowd(stage.url, parts, timeout=60.0)
    crowd.start()
    try:
        crowd.wait_for(BEFORE)
        killed_at = time.time()
        pids = stage.kill_engine()
        story.say(f"  SIGKILL to {len(pids)} processes of vLLM: {', '.join(map(str, pids))}")
        told = 0.0

        def back() -> bool:
            good = {r.tenant for r in crowd.replies if r.good and r.began > killed_at}
            adapted = any(
                r.tenant == ACME.name and r.began > killed_at and r.version.startswith("tickets@")
                for r in crowd.replies
                if r.good
            )
            return adapted and len(good) == len({part.tenant for part in parts})

        def tell() -> None:
            nonlocal told
            if time.monotonic() - told > 5:
                told = time.monotonic()
                recent = [r for r in list(crowd.replies) if r.ended > time.time() - 5]
                seen = Counter(r.fallback or "answered" if r.good else r.status for r in recent)
                story.say(
                    f"  {time.time() - killed_at:5.1f} s  "
                    + ", ".join(f"{what}: {count}" for what, count in seen.items())
                )

        stage.wait("the engine back", back, 240.0, each=tell)
        crowd.wait_for(BEFORE)
    finally:
        replies = crowd.stop()
    after = [reply for reply in replies if reply.ended > killed_at]
    report(story, after, killed_at)


def report(story: Story, replies: Sequence[Reply], killed_at: float) -> None:
    """What the clients saw from the kill on."""
    errors = [reply for reply in replies if not reply.good]
    shaped = [reply for reply in errors if reply.error_shaped]
    polite = [reply for reply in errors if reply.status == 503 and reply.retry_after is not None]
    began_after = [reply for reply in replies if reply.began > killed_at]
    first = min((r.ended for r in began_after if r.good), default=float("inf"))
    adapter = min(
        (r.ended for r in began_after if r.good and r.version.startswith("tickets@")),
        default=float("inf"),
    )
    fallbacks = Counter(r.fallback for r in replies if r.good and r.fallback not in ("", "none"))
    for reply in [reply for reply in errors if reply not in polite][:3]:
        story.say(f"  [red]status {reply.status}: {reply.error}[/]")
    statuses = Counter(reply.status for reply in errors)
    story.say(f"  errors by status: {dict(statuses)}; answers that fell back: {dict(fallbacks)}")
    story.check(
        "outage: errors in OpenAI's shape, 503 with Retry-After",
        bool(errors) and len(shaped) == len(errors) == len(polite),
        f"{len(polite)} of {len(errors)}",
    )
    story.check(
        f"outage: nobody hangs (slowest answer or error under {HANG_S:.0f} s)",
        slowest(replies) < HANG_S,
        f"{slowest(replies):.2f} s",
    )
    story.check(
        "outage: back by itself, first answer and first by the adapter",
        adapter < float("inf"),
        f"{first - killed_at:.1f} s, {adapter - killed_at:.1f} s",
    )
    story.figures["outage"] = {
        "errors": len(errors),
        "openai_shaped": len(shaped),
        "503_with_retry_after": len(polite),
        "slowest_s": round(slowest(replies), 2),
        "first_answer_s": round(first - killed_at, 2),
        "first_by_adapter_s": round(adapter - killed_at, 2),
        "fallbacks": dict(fallbacks),
    }
