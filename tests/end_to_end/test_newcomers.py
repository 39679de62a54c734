"""What a newcomer does, on real parts: the platform of `switchyard up` with its own base.

The walk in docs/training.md from a CSV to a served adapter, its commands as they stand there; and
a developer who leaves OpenAI, with a script that knows the openai SDK and nothing of ours.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.platform import Running, platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/training.md"
SCRIPT = ROOT / "tests/clients/fine_tune_openai.py"
BLOCK = re.compile(r"```(bash|python|text)\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The platform, for the tests of this file."""
    with platform(tmp_path_factory.mktemp("newcomers") / "home") as found:
        yield found


def walk() -> list[tuple[str, str]]:
    """(language, text) of the walk's blocks."""
    page = PAGE.read_text("utf-8")
    section = page.partition("## From a CSV to a served adapter")[2].partition("\n## ")[0]
    return [(language, text) for language, text in BLOCK.findall(section) if language != "text"]


def test_every_command_of_the_walk_does_what_the_page_says(
    running: Running, tmp_path: Path
) -> None:
    blocks = walk()
    assert blocks[0] == ("bash", "switchyard up\n"), "the first block starts the platform"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = tmp_path / "bin" / "switchyard"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{Path(sys.executable).parent}:{running.environ['PATH']}"
    script = ["set -euo pipefail"]
    for language, text in blocks[1:]:
        text = text.replace("http://127.0.0.1:8080", running.url)
        script.append(text if language == "bash" else f"python - <<'END'\n{text}END\n")
    ended = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**running.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=800,
    )
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0
    assert "is live: requests for its alias get it from now on" in ended.stdout
    assert "\nrefund none\n" in ended.stdout, "the adapter itself answered, and rightly"
    assert (tmp_path / "audit.html").is_file()
    shown = json.loads(running.switchyard("adapter", "show", "tickets", "-t", "acme", "--json"))
    engine_and_memory_agree(shown["versions"][0]["evaluation"])


def engine_and_memory_agree(evaluation: dict[str, Any]) -> None:
    """What was served was measured, and it is what was trained."""
    assert evaluation["through"] == "engine"
    memory = evaluation["in_memory"]
    for system in ("base_zero_shot", "base_few_shot", "adapter"):
        found = evaluation[system]
        # A near-tie may fall to either side: one answer of all, at most.
        assert abs(found["score"] - memory[system]) <= 1 / found["n"] + 1e-6, system
        assert found["latency_ms"]["p95"] >= found["latency_ms"]["p50"] > 0
        assert 0 < found["ttft_ms"]["p50"] <= found["latency_ms"]["p95"]
        assert found["tokens_per_request"] > 0
    for system in ("base", "adapter"):
        ours, theirs = memory["perplexity"][system], evaluation["perplexity"][system]
        assert theirs["tokens"] == ours["tokens"]
        assert theirs["perplexity"] == pytest.approx(ours["perplexity"], rel=1e-2), system
        ours, theirs = memory["general"][system], evaluation["general"][system]
        assert theirs["perplexity"] == pytest.approx(ours["perplexity"], rel=1e-2), system
    assert memory["general"]["n"] == evaluation["general"]["n"] > 10


def test_a_developer_who_leaves_openai_changes_the_address_only(running: Running) -> None:
    running.switchyard("tenant", "create", "leaver")
    key = json.loads(running.switchyard("key", "create", "leaver", "--json"))["secret"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={
            "PATH": running.environ["PATH"],
            "OPENAI_API_KEY": key,
            "OPENAI_BASE_URL": f"{running.url}/v1",
            "FINE_TUNE_MODEL": "switchyard-tiny",
            "FINE_TUNE_FOLLOW": "1",
        },
        capture_output=True,
        text=True,
        timeout=800,
    )
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0
    got = json.loads(ended.stdout)
    kinds = {name: found[0] for name, found in got["errors"].items()}
    assert kinds == {
        "request": "BadRequestError",
        "file": "BadRequestError",
        "unknown": "NotFoundError",
        "conflict": "ConflictError",
        "key": "AuthenticationError",
        "too_many": "RateLimitError",
    }
    for which in ("first", "second"):
        job = got[which]
        assert job["status"] == "succeeded", job
        final, *checkpoints = job["names"]
        assert final.startswith(f"ft:switchyard-tiny:leaver:{which}:")
        assert checkpoints and all(":ckpt-step-" in name for name in checkpoints), job
        assert job["models"] == job["names"], "what was asked for is what answered"
        assert job["events"][0] == "The job has successfully completed"
        assert job["results"][0].startswith("step,train_loss,train_accuracy,valid_loss")
