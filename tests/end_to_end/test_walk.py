"""The walk in docs/training.md, from a CSV to a served adapter: its commands, as they stand there,
in their order, on real parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.platform import platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/training.md"
BLOCK = re.compile(r"```(bash|python|text)\n(.*?)```", re.S)


def walk() -> list[tuple[str, str]]:
    """(language, text) of the walk's blocks."""
    page = PAGE.read_text("utf-8")
    section = page.partition("## From a CSV to a served adapter")[2].partition("\n## ")[0]
    return [(language, text) for language, text in BLOCK.findall(section) if language != "text"]


def test_every_command_of_the_walk_does_what_the_page_says(tmp_path: Path) -> None:
    blocks = walk()
    assert blocks[0] == ("bash", "switchyard up\n"), "the first block starts the platform"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with platform(tmp_path / "home") as running:
        program = tmp_path / "bin" / "switchyard"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:{Path(sys.executable).parent}:{running.environ['PATH']}"
        environ = {**running.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        script = ["set -euo pipefail"]
        for language, text in blocks[1:]:
            text = text.replace("http://127.0.0.1:8080", running.url)
            script.append(text if language == "bash" else f"python - <<'END'\n{text}END\n")
        ended = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=800,
        )
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0
    assert ended.stdout.rstrip().endswith("refund none"), "the adapter itself answered, and rightly"
