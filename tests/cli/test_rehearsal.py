"""The demo's whole story with a toy engine and a toy worker: every step, every check, in seconds.

Router, controller, swap, drift detection, supervision and the openai SDK are the real ones. A real
Prometheus watches, and then every panel and every rule must have something to show.
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from rich.console import Console

from cli.demo import cast
from cli.demo.show import Show
from cli.demo.stage import Stage, home_of
from cli.demo.story import Story
from cli.home import Home
from monitoring import configuration, rules
from monitoring.panels import queries
from tests.cli.rehearsal import PROGRAM
from tests.monitoring.prometheus import Prometheus, program, running, wait_for
from tests.serve.making import base_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_SERIES = re.compile(r"\b(?:switchyard_|vllm:|[a-z]+:switchyard_|switchyard:)[a-zA-Z0-9_:]*")


@dataclass
class WatchedStage(Stage):
    """A stage whose metrics a real Prometheus scrapes, where there is one."""

    watch: ExitStack = field(default_factory=ExitStack)
    prometheus: Prometheus | None = None

    def open(self) -> None:
        super().open()
        if shutil.which("prometheus") is None:
            return
        places = {name: url.removeprefix("http://") for name, url in self.urls.items()}
        host, _, port = places["worker metrics"].partition(":")
        addresses = {
            "switchyard-router": places["router metrics"],
            "switchyard-controller": places["controller metrics"],
            "switchyard-worker": [f"{host}:{int(port) + n}" for n in range(2)],
            "vllm": places["engine"],
        }
        folder = self.home.folder.parent / "prometheus"
        configuration.write(folder, addresses, interval="1s", budget_interval="1s")
        self.prometheus = self.watch.enter_context(running(folder / "prometheus.yml", folder))

    def close(self) -> None:
        self.watch.close()
        super().close()


@dataclass(frozen=True)
class Told:
    """The story, its stage, which is still open, and acme's key."""

    story: Story
    stage: WatchedStage
    key: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The platform after the whole story."""
    folder = tmp_path_factory.mktemp("rehearsal")
    base = base_folder(folder / "switchyard-tiny")
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SWITCHYARD_")},
        "SWITCHYARD_ENGINE_BASE": str(base),
        "SWITCHYARD_ENGINE_HEARTBEAT_S": "0.2",
        "SWITCHYARD_SWAP_POLL_S": "0.1",
    }
    home = home_of(Home(folder / "home", environ))
    said = io.StringIO()
    story = Story(console=Console(file=said, width=120))
    stage = WatchedStage(home, PROGRAM)
    try:
        show = Show(stage, story, cast.examples_folder(), rows=40, clients=8)
        show.tell()
        yield Told(story, stage, show.keys["acme"])
    finally:
        stage.close()
        print(said.getvalue())


def test_the_story_is_told_to_its_end(told: Told) -> None:
    story = told.story
    failed = [f"{check.step}: {check.promise}: {check.found}" for check in story.failed]
    assert not failed, failed
    assert set(story.figures) == {"accuracy", "swap_under_load", "outage", "drift"}
    assert story.figures["drift"]["corrections"] >= 200
    kinds = [decision["kind"] for decision in story.figures["drift"]["decisions"]]
    assert kinds.index("watch") < kinds.index("retrain") < kinds.index("promote")


def watching(told: Told) -> Prometheus:
    """The server; skips the test where it is not installed."""
    program("prometheus")
    assert told.stage.prometheus is not None
    return told.stage.prometheus


def empty(prometheus: Prometheus, asked: list[str]) -> list[str]:
    """Those that give no number."""
    return [
        expr
        for expr in asked
        if not any(math.isfinite(float(s["value"][1])) for s in prometheus.query(expr))
    ]


def ask(told: Told) -> None:
    """What the story has none of: streamed answers, which alone have a first token, and
    conversations of which the base answers a share."""
    told.stage.home.open_registry().tenants.update("acme", control_share=0.5)
    with openai.OpenAI(base_url=f"{told.stage.url}/v1", api_key=told.key) as client:
        for number in range(8):
            asked: Any = [{"role": "user", "content": f"lamp {number} is broken"}]
            for _ in client.chat.completions.create(model="tickets", messages=asked, stream=True):
                pass


def test_every_panel_and_every_rule_has_data(told: Told) -> None:
    prometheus = watching(told)
    asked = [*queries(tenant="acme", price="2")]
    asked += [rule.expr for rule in (*rules.recordings(), *rules.budgets())]

    def complete() -> bool:
        ask(told)
        return not empty(prometheus, asked)

    try:
        wait_for(complete, "every panel to have data")
    except AssertionError as error:
        raise AssertionError(f"{error}; empty: {empty(prometheus, asked)}") from error


def test_every_series_that_is_asked_for_was_scraped_or_recorded(told: Told) -> None:
    prometheus = watching(told)
    asked = " ".join([*queries(), *(alert.expr for alert in rules.alerts())])
    there = set(prometheus.get("label/__name__/values"))
    assert set(_SERIES.findall(asked)) - there == set()


def test_every_rule_can_be_evaluated(told: Told) -> None:
    prometheus = watching(told)
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    wanted = (*rules.recordings(), *rules.budgets(), *rules.alerts())
    assert len(found) == len(wanted)
    assert {rule["health"] for rule in found} == {"ok"}


def test_all_that_was_started_is_drained_in_order_and_nothing_is_killed(told: Told) -> None:
    """The last of this file: it ends the platform."""
    told.stage.close()
    log = (told.stage.home.logs / "up.log").read_text().splitlines()
    drained = [line.partition(":")[0] for line in log if line.endswith(": draining")]
    assert drained == ["router", "worker", "worker-2", "controller", "engine"]
    assert log[-1] == "everything has ended"
    assert not any("killed" in line for line in log), "a process had to be killed"
