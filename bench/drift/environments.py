"""The peers' virtual environments, made once: their numpy and torch are not ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from bench.processes import BenchError
from bench.router.peers import REQUIREMENTS, default_folder

ENVIRONMENTS = ("river", "alibi")
_TORCH = "https://download.pytorch.org/whl/cpu"


def python(name: str, folder: Path | None = None) -> Path:
    """The Python of an environment, which is installed if it isn't there. Raises BenchError."""
    there = (folder or default_folder()) / f"drift-{name}"
    found = there / "bin" / "python"
    if (there / "complete").exists():
        return found
    print(f"bench: installing drift's peers in {there}, once", file=sys.stderr)
    venv.create(there, with_pip=True)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--no-deps",
           "--disable-pip-version-check"]  # fmt: skip
    file = REQUIREMENTS / f"peers-drift-{name}.txt"
    torch = [line for line in file.read_text().splitlines() if line.startswith("torch==")]
    if torch and subprocess.run([*pip, *torch], capture_output=True).returncode:
        subprocess.run([*pip, "--index-url", _TORCH, *torch])  # CPU builds are not on PyPI
    said = subprocess.run([*pip, "-r", str(file)], capture_output=True, text=True)
    if said.returncode != 0:
        raise BenchError(
            f"drift's peers could not be installed: leave them out with --without {name}. pip "
            f"said:\n{said.stderr[-2000:]}"
        )
    (there / "complete").touch()
    return found
