"""A story: steps in order, each timed, each with checks that pass or fail, and what came out.

Knows nothing of what the steps do. A step that raises ends the story; a check that fails is kept
and named at the end, so that one bad figure does not hide the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cli import render
from cli.errors import StepFailed

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Check:
    """Something that the demo promises, what was found, and whether that will do."""

    step: str
    promise: str
    found: str
    passed: bool | None
    """None for a figure that is told and not judged."""


@dataclass
class Story:
    """Told step by step; `figures` is what --json writes."""

    console: Console = field(default_factory=render.console)
    clock: Callable[[], float] = time.monotonic
    checks: list[Check] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    _step: str = ""

    def step(self, name: str, title: str, act: Callable[[], object]) -> None:
        """Tell one step. Raises StepFailed, whatever went wrong inside."""
        from rich.rule import Rule

        self._step = name
        self.console.print()
        self.console.print(Rule(f"[bold]{title}[/]", align="left"))
        began = self.clock()
        try:
            act()
        except StepFailed:
            raise
        except Exception as error:
            # The edge of a step: its name must be in what the user sees, whatever the error is.
            raise StepFailed(name, f"{type(error).__name__}: {error}") from error
        finally:
            self.durations[name] = self.clock() - began
        self.say(f"[dim]{self.durations[name]:.1f} s[/]")

    def say(self, text: str) -> None:
        """A line of the story (rich markup)."""
        self.console.print(text)

    def check(self, promise: str, passed: bool, found: str) -> None:
        """Hold what was found against what was promised, and say so at once."""
        self.checks.append(Check(self._step, promise, found, passed))
        mark = "[green]✓[/]" if passed else "[red]✗[/]"
        self.say(f"{mark} {promise}: [bold]{found}[/]")

    def figure(self, name: str, found: str) -> None:
        """A figure that belongs into the summary and has no bound."""
        self.checks.append(Check(self._step, name, found, None))
        self.say(f"· {name}: [bold]{found}[/]")

    def table(self, columns: list[str], lines: list[list[str]], title: str | None = None) -> None:
        """A table in the story."""
        render.table(columns, lines, title, screen=self.console)

    def fail(self, reason: str) -> StepFailed:
        """The error with which the step that is being told ends: `raise story.fail(…)`."""
        return StepFailed(self._step, reason)

    @property
    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if check.passed is False]

    def ending(self) -> None:
        """Two tables: what was promised and found, and how long each step took."""
        marks = {True: "✓", False: "✗", None: "·"}
        self.table(
            ["", "promise", "found"],
            [[marks[c.passed], c.promise, c.found] for c in self.checks],
            title="What was promised",
        )
        total = sum(self.durations.values())
        self.table(
            ["step", "seconds"],
            [[name, f"{took:.1f}"] for name, took in self.durations.items()]
            + [["all", f"{total:.1f}"]],
            title="How long it took",
        )

    def json(self) -> dict[str, Any]:
        """All figures, for a script."""
        return {
            "passed": not self.failed,
            "checks": [vars(check) for check in self.checks],
            "seconds": {name: round(took, 2) for name, took in self.durations.items()},
            **self.figures,
        }
