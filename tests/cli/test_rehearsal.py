"""The demo's whole story with a toy engine and a toy worker: every step, every check, in seconds.

Router, controller, swap, drift detection, supervision and the openai SDK are the real ones.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo import cast
from cli.demo.show import Show
from cli.demo.stage import Stage, home_of
from cli.demo.story import Story
from cli.home import Home
from tests.cli.rehearsal import PROGRAM
from tests.serve.making import base_folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_story_is_told_to_its_end(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "switchyard-tiny")
    environ = {
        **os.environ,
        "SWITCHYARD_ENGINE_BASE": str(base),
        "SWITCHYARD_ENGINE_HEARTBEAT_S": "0.2",
        "SWITCHYARD_SWAP_POLL_S": "0.1",
    }
    home = home_of(Home(tmp_path / "home", environ))
    said = io.StringIO()
    story = Story(console=Console(file=said, width=120))
    stage = Stage(home, PROGRAM)
    try:
        Show(stage, story, cast.examples_folder(), rows=40, clients=8).tell()
    finally:
        stage.close()
        print(said.getvalue())
    failed = [f"{check.step}: {check.promise}: {check.found}" for check in story.failed]
    assert not failed, failed
    assert set(story.figures) == {"accuracy", "swap_under_load", "outage", "drift"}
    assert story.figures["drift"]["corrections"] >= 200
    kinds = [decision["kind"] for decision in story.figures["drift"]["decisions"]]
    assert kinds.index("watch") < kinds.index("retrain") < kinds.index("promote")
    log = (home.logs / "up.log").read_text().splitlines()
    drained = [line.partition(":")[0] for line in log if line.endswith(": draining")]
    assert drained == ["router", "worker", "worker-2", "controller", "engine"]
    assert log[-1] == "everything has ended"
    assert not any("killed" in line for line in log), "a process had to be killed"
