"""Resolve the lock files: one a process, so that each image holds only what it runs, one for
everything on a CPU box, and one for the clients that tests run beside it. Run by `make lock`;
UV_FIND_LINKS may name a folder with torch's CPU wheel.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

LOCKS = {
    "router": ["router", "otel", "postgres", "redis", "s3"],
    "worker": ["train", "postgres", "s3"],
    "engine-cpu": ["engine-cpu", "postgres", "s3"],
    "controller": ["controller", "postgres", "report", "s3"],
    "all-cpu": [
        "router",
        "train",
        "engine-cpu",
        "controller",
        "dashboards",
        "postgres",
        "redis",
        "s3",
        "demo",
        "test",
    ],
}
CUDA_LOCKS = {
    "engine-gpu": ["engine-gpu", "postgres", "s3"],
    "worker-gpu": ["train", "postgres", "s3"],
}
# Their wheels carry CUDA and are for one platform.
CUDA_PLATFORM = "x86_64-manylinux_2_28"


def main() -> None:
    """Write requirements/<name>.lock for each of LOCKS and CUDA_LOCKS."""
    for name, extras in LOCKS.items():
        compile_lock(name, extras, ["--universal", "--override=requirements/overrides.txt"])
    for name, extras in CUDA_LOCKS.items():
        compile_lock(name, extras, [f"--python-platform={CUDA_PLATFORM}"])
    compile_lock("clients", [], ["--universal"], source="requirements/clients.in")


def compile_lock(
    name: str, extras: list[str], options: list[str], *, source: str = "pyproject.toml"
) -> None:
    """Have uv resolve some of pyproject's extras, or a list of requirements."""
    command = [
        str(Path(sys.executable).parent / "uv"),
        "pip",
        "compile",
        source,
        "--quiet",
        "--python-version=3.11",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        *options,
        *(f"--extra={extra}" for extra in extras),
        f"--output-file=requirements/{name}.lock",
    ]
    subprocess.run(command, check=True, cwd=HERE.parent)
    print(f"requirements/{name}.lock: {source}, {len(extras)} extras")


if __name__ == "__main__":
    main()
