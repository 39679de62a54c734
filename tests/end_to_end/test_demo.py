"""The whole loop on real parts, once: real training, real vLLM, the openai SDK, nothing faked.

`switchyard demo` is run as a user runs it, and its figures are held against what the project
promises. Takes some minutes on two cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The demo's figures. Its output is shown when a test fails."""
    folder = tmp_path_factory.mktemp("demo")
    figures = folder / "figures.json"
    command = [sys.executable, "-m", "cli.main", "--home", str(folder / "home"), "demo"]
    ended = subprocess.run(
        [*command, "--json", str(figures)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1700,
    )
    print(ended.stdout)
    assert figures.is_file(), ended.stdout[-4000:]
    found: dict[str, Any] = json.loads(figures.read_text())
    found["exit_code"] = ended.returncode
    return found


def test_the_demo_ends_well(demo: dict[str, Any]) -> None:
    broken = [check for check in demo["checks"] if check["passed"] is False]
    assert (demo["failed_step"], broken, demo["exit_code"]) == (None, [], 0)


def test_each_adapter_knows_its_task_and_the_base_does_not(demo: dict[str, Any]) -> None:
    for tenant, wanted in (("acme", 0.90), ("lex", 0.85)):
        found = demo["accuracy"][tenant]
        assert found["adapter"]["exact"] >= wanted, tenant
        assert found["base"]["exact"] <= 0.20, tenant


def test_a_swap_under_load_fails_nobody(demo: dict[str, Any]) -> None:
    swap = demo["swap_under_load"]
    assert swap["clients"] >= 8
    assert (swap["failed"], swap["not_live"]) == (0, 0)
    assert all(count > 0 for count in swap["answers_by"].values()), "both versions answered"


def test_an_engine_killed_under_load_gives_polite_errors_and_comes_back(
    demo: dict[str, Any],
) -> None:
    outage = demo["outage"]
    assert outage["errors"] > 0
    assert outage["openai_shaped"] == outage["503_with_retry_after"] == outage["errors"]
    assert outage["first_by_adapter_s"] is not None


def test_drifted_traffic_is_learned_without_a_command(demo: dict[str, Any]) -> None:
    drift = demo["drift"]
    assert drift["gain"] >= 0.30
    assert drift["failed"] == 0
    kinds = [decision["kind"] for decision in drift["decisions"]]
    assert kinds.index("retrain") < kinds.index("promote")
