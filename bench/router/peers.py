"""The peers' virtual environments: made once, from pinned requirements, each apart from ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from bench.processes import BenchError

REQUIREMENTS = Path(__file__).parent.parent.parent / "requirements"
PEERS = {"litellm": "litellm", "vllm-router": "vllm-router"}
"""Name → its console command."""


def default_folder() -> Path:
    """Beside the packages of the environment that this runs in, so that it goes when that goes."""
    return Path(sys.prefix) / "peers"


def command(name: str, folder: Path) -> Path:
    """The peer's console command, installed if it isn't there. Raises BenchError."""
    found = folder / name / "bin" / PEERS[name]
    if found.exists():
        return found
    print(f"bench: installing {name} in {folder / name}, once", file=sys.stderr)
    venv.create(folder / name, with_pip=True)
    pip = [str(folder / name / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    said = subprocess.run(
        [*pip, "--disable-pip-version-check", "-r", str(REQUIREMENTS / f"peers-{name}.txt")],
        capture_output=True,
        text=True,
    )
    if said.returncode != 0 or not found.exists():
        raise BenchError(
            f"{name} could not be installed: name a folder that has it with --peers, or leave it "
            f"out with --without {name}. pip said:\n{said.stderr[-2000:]}"
        )
    return found
