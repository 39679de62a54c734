"""The supervisor behind `switchyard up`: keeps a set of processes running, and ends them in order.

Knows specs, children and backoff; nothing about engines or routers. `tick` does one look around;
who calls it decides how often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.child import Child, Spec
from cli.errors import NotStartable, ProcessFailed

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0
"""Ready for so long, a process counts as healthy again: its next restart is quick."""
FAILED_STARTS = 5
"""A process that ends so often without ever having been ready won't be by trying again."""


@dataclass
class Watched:
    """A child and what the supervisor thinks of it."""

    child: Child
    state: str = "stopped"
    """stopped, starting, ready, waiting (for its next start) or drained."""
    restarts: int = 0
    failures: int = 0
    """Ends since it was last steadily ready: what the delay grows with."""
    started_at: float = 0.0
    ready_since: float | None = None
    ever_ready: bool = False
    start_at: float = 0.0
    note: str = ""


@dataclass
class Supervisor:
    """Starts `specs` together, restarts what dies, drains in the order of `drain_order`."""

    specs: Sequence[Spec]
    logs: Path
    drain_order: Sequence[str] = ()
    say: Callable[[str], None] = print
    clock: Callable[[], float] = time.monotonic
    first_delay_s: float = FIRST_DELAY_S
    hurry: bool = False
    """Set while draining (from a signal handler): don't wait any longer."""
    watched: dict[str, Watched] = field(default_factory=dict, init=False)

    def startup(self) -> None:
        """Start everything; readiness comes with ticks."""
        for spec in self.specs:
            log = self.logs / f"{spec.name}.log"
            if log.exists():
                log.replace(log.with_suffix(".log.1"))
            self.watched[spec.name] = Watched(Child(spec, log))
        for watched in self.watched.values():
            self._start(watched)

    def tick(self) -> None:
        """Look at every process once. Raises ProcessFailed for one that can't be kept running."""
        for watched in self.watched.values():
            if watched.state == "waiting":
                if self.clock() >= watched.start_at:
                    watched.restarts += 1
                    self._start(watched)
            elif watched.state in ("starting", "ready"):
                if watched.child.alive():
                    self._look(watched)
                else:
                    self._died(watched)

    @property
    def ready(self) -> bool:
        """Whether every process does its work."""
        return all(watched.state == "ready" for watched in self.watched.values())

    def wait_ready(self, timeout: float, interval: float = 0.2) -> bool:
        """Tick until everything is ready, or for `timeout` seconds."""
        deadline = self.clock() + timeout
        while not self.ready:
            if self.clock() >= deadline:
                return False
            time.sleep(interval)
            self.tick()
        return True

    def shutdown(self, timeout: float | None = None) -> None:
        """End the processes one after another: SIGTERM, then SIGKILL for one that overstays.

        Each gets its own `drain_s`; `timeout` shortens that (0 kills at once).
        """
        ordered = [name for name in self.drain_order if name in self.watched]
        ordered += [name for name in self.watched if name not in ordered]
        for name in ordered:
            watched = self.watched[name]
            child = watched.child
            if child.alive():
                self.say(f"{name}: draining")
                child.ask_to_end()
                allowed = child.spec.drain_s
                if timeout is not None:
                    allowed = min(timeout, allowed)
                deadline = self.clock() + allowed
                while child.alive() and self.clock() < deadline and not self.hurry:
                    time.sleep(0.05)
                if child.alive():
                    why = "told to hurry" if self.hurry else f"not done within {allowed:.0f} s"
                    self.say(f"{name}: {why}: killed")
            child.kill()  # also what it left behind
            watched.state = "drained"

    def _start(self, watched: Watched) -> None:
        watched.child.start()
        watched.state, watched.note = "starting", ""
        watched.started_at, watched.ready_since = self.clock(), None

    def _look(self, watched: Watched) -> None:
        if not watched.child.spec.ready():
            if watched.state == "ready":
                self.say(f"{watched.child.name}: not ready any more")
            watched.state, watched.ready_since = "starting", None
            return
        if watched.state != "ready":
            took = self.clock() - watched.started_at
            again = " again" if watched.ever_ready else f" after {took:.1f} s"
            self.say(f"{watched.child.name}: ready{again}")
            watched.state, watched.ready_since, watched.ever_ready = "ready", self.clock(), True
        elif watched.ready_since is not None and self.clock() - watched.ready_since >= STEADY_S:
            watched.failures = 0

    def _died(self, watched: Watched) -> None:
        child = watched.child
        child.kill()  # the leader is gone: its group may not be
        watched.failures += 1
        watched.note = child.ending()
        final = child.exit_code == NotStartable.exit_code
        if not watched.ever_ready and (final or watched.failures >= FAILED_STARTS):
            raise ProcessFailed(
                f"{child.name} {watched.note}, {watched.failures} time(s) without having been "
                f"ready; its log {child.log} ends with:\n{child.last_words()}"
            )
        delay = min(LONGEST_DELAY_S, self.first_delay_s * 2 ** (watched.failures - 1))
        watched.state, watched.start_at = "waiting", self.clock() + delay
        watched.ready_since = None
        self.say(f"{child.name}: {watched.note}; starting it again in {delay:.1f} s")
