"""The shift: a new product line in acme's traffic, seen, learned from and put live by the loop.

From the first shifted prompt to the promotion nothing here touches the registry but to read it:
prompts and corrections go through the router, as a tenant's own systems would send them.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cli import jobs, lineage, room_settings
from cli.demo import cast, exam
from cli.demo.cast import ACME, Message
from cli.demo.client import ask, connect
from cli.demo.exam import Paper
from cli.demo.stage import Stage
from cli.demo.story import Story
from cli.drift import Drift

GAIN = 0.30
PAUSE_S = 0.05
"""Between two of a sender's prompts: traffic, not a benchmark."""
QUIET_S = 1.0
SENDERS = 3


@dataclass
class Mailroom:
    """acme's own systems: they ask for a label for each ticket, and say where it was wrong.

    `corrections` are tickets whose right label a person gave afterwards.
    """

    url: str
    key: str
    model: str
    tickets: Sequence[Sequence[Message]]
    corrections: Sequence[tuple[Sequence[Message], str]]
    senders: int = SENDERS
    sent: int = 0
    corrected: int = 0
    failed: int = 0
    quiet: bool = False
    """Whether few are sent: something else needs the machine."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failure: BaseException | None = None

    def start(self) -> None:
        """Begin sending; in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="mailroom", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:
            self._failure = error  # raised again by `stop`

    async def _all(self) -> None:
        corrections = iter(self.corrections)
        tickets = itertools.cycle(self.tickets)
        async with (
            connect(self.url, self.key, retries=2) as client,
            httpx.AsyncClient(
                base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=30
            ) as feedback,
        ):

            async def send() -> None:
                while not self._stop.is_set():
                    ticket = next(corrections, None)
                    prompt = ticket[0] if ticket else next(tickets)
                    reply = await ask(client, ACME.name, self.model, prompt, max_tokens=12)
                    self.sent += 1
                    self.failed += not reply.good
                    if ticket and reply.good:
                        body = {"completion_id": reply.completion_id, "correction": ticket[1]}
                        answer = await feedback.post("/v1/feedback", json=body)
                        self.corrected += answer.status_code == 200
                        self.failed += answer.status_code != 200
                    await asyncio.sleep(QUIET_S if self.quiet and not ticket else PAUSE_S)

            await asyncio.gather(*(send() for _ in range(self.senders)))


def tell(stage: Stage, story: Story, key: str, examples: Path, clients: int) -> None:
    """Shift, drift, corrections, retraining, gate, rollout; accuracy before and after."""
    registry, model = stage.registry, str(ACME.adapter)
    folder = examples / "acme"
    settle(stage, story, key, folder)
    before_live = registry.aliases.get(ACME.name, model).live
    paper = Paper.of(ACME, folder / "shifted_heldout.jsonl", 120)
    tickets = cast.rows(folder / "shifted_prompts.jsonl")
    corrections = [
        (row[:-1], row[-1]["content"]) for row in cast.rows(folder / "corrections.jsonl")
    ]
    began = time.time()
    watcher = _Watcher(stage, story, began)

    def promoted() -> bool:
        for job in registry.jobs.all(ACME.name, model):
            if job.trigger == "controller" and job.state == "failed":
                raise story.fail(jobs.failure(job))
        for version in registry.versions.all(ACME.name, model, state="rejected"):
            if version.state_at > began:
                raise story.fail(
                    f"the gate or the swap rejected {version.served_name}: "
                    + lineage.summary(version.reasons)
                )
        return registry.aliases.get(ACME.name, model).live != before_live

    def look(mailroom: Mailroom) -> None:
        # The day goes on, but leaves the machine to training; a rollout wants traffic.
        mailroom.quiet = bool(registry.jobs.all(ACME.name, model, active=True))
        watcher.look(mailroom)

    def send(mailroom: Mailroom, what: str, until: Callable[[], bool]) -> None:
        mailroom.start()
        try:
            stage.wait(what, until, 900.0, each=lambda: look(mailroom), interval=0.2)
            watcher.look(mailroom)
        finally:
            mailroom.stop()

    # First the shift alone, and the evidence for it; then people begin to correct.
    alone = Mailroom(stage.url, key, model, tickets, [], senders=1)  # slow enough to watch
    send(alone, "sustained drift", lambda: drift(stage).phase == "established")
    before = exam.sit(stage.url, key, model, paper, clients)
    story.say(f"  shifted tickets, the version that is live: [bold]{before.exact:.1%}[/] exact")
    corrected = Mailroom(stage.url, key, model, tickets, corrections)
    send(corrected, "the retrained version live", promoted)
    sent, failed = alone.sent + corrected.sent, alone.failed + corrected.failed
    live = registry.versions.get(str(registry.aliases.get(ACME.name, model).live))
    time.sleep(1.0)  # the router's snapshot is at most half a second behind
    after = exam.sit(stage.url, key, model, paper, clients)
    gain = after.exact - before.exact
    story.say(
        f"  {live.served_name} ({live.reasons.get('summary', '')}) after {sent} tickets, "
        f"{corrected.corrected} corrections"
    )
    story.check(
        f"drift: at least {GAIN:.0%} points gained on the shifted tickets",
        gain >= GAIN,
        f"{before.exact:.1%} → {after.exact:.1%}",
    )
    story.check("drift: requests that failed meanwhile", not failed, str(failed))
    story.figures["drift"] = {
        "before": before.json(),
        "after": after.json(),
        "gain": round(gain, 4),
        "seconds_to_promotion": round(live.state_at - began, 1),
        "tickets": sent,
        "corrections": corrected.corrected,
        "failed": failed,
        "decisions": [
            {"kind": d.kind, "rule": d.rule, "at_s": round(d.created_at - began, 1)}
            for d in reversed(registry.decisions.all(ACME.name, model))
            if d.created_at > began
        ],
    }


class _Watcher:
    """Tells what the loop does while it does it: receipts, and a line every few seconds."""

    def __init__(self, stage: Stage, story: Story, began: float) -> None:
        self._stage, self._story, self._began = stage, story, began
        self._told: set[str] = set()
        self._line, self._at = "", 0.0

    def look(self, mailroom: Mailroom) -> None:
        """Say what is new."""
        for decision in reversed(self._stage.registry.decisions.all(ACME.name, ACME.adapter)):
            if decision.created_at > self._began and decision.id not in self._told:
                self._told.add(decision.id)
                self._story.say(
                    f"  {decision.created_at - self._began:5.1f} s  [bold]{decision.kind}[/] "
                    f"by {decision.by}: {decision.rule}"
                )
        line = news(self._stage, mailroom)
        pause = 4 if mailroom.corrections else 1  # drift rises fast, training takes its time
        if line != self._line and time.monotonic() - self._at > pause:
            self._line, self._at = line, time.monotonic()
            self._story.say(f"  {time.time() - self._began:5.1f} s  {line}")


def settle(stage: Stage, story: Story, key: str, folder: Path) -> None:
    """Ordinary traffic until the detector knows what ordinary is."""
    if drift(stage).phase != "reference":
        return
    ordinary = [row[:-1] for row in cast.rows(folder / "heldout.jsonl")]
    mailroom = Mailroom(stage.url, key, str(ACME.adapter), ordinary, [])
    mailroom.start()
    try:
        stage.wait("a drift reference", lambda: drift(stage).phase != "reference", 120.0)
    finally:
        mailroom.stop()
    story.say(f"  {mailroom.sent} ordinary tickets first: what drift will be held against")


def news(stage: Stage, mailroom: Mailroom) -> str:
    """One line: drift, corrections, the job."""
    registry, model = stage.registry, str(ACME.adapter)
    waiting = len(registry.corrections.of(ACME.name, model))
    parts = [f"{mailroom.sent} tickets", f"drift {drift(stage)}", f"{waiting} corrections wait"]
    for job in registry.jobs.all(ACME.name, model, active=True):
        parts.append(f"training: {jobs.news(job.progress, None) or job.state}")
    return ", ".join(parts)


def drift(stage: Stage) -> Drift:
    """Where acme's detector stands, as the controller keeps it."""
    state = stage.registry.decisions.drift_state(ACME.name, str(ACME.adapter))
    return Drift.of(state, room_settings.controller(stage.home))
