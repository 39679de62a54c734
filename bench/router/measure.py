"""Loads: wrk for whole answers, Node.js for streams; both on the load's core."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError

HERE = Path(__file__).parent
ROUTER_CORE, LOAD_CORE = 0, 1
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Whole:
    """wrk's figures; milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    requests: int


@dataclass(frozen=True)
class Streams:
    """The stream client's figures; milliseconds. `done` counts streams that ended in [DONE]."""

    streams_per_second: float
    first_p50_ms: float
    first_p99_ms: float
    whole_p50_ms: float
    failed: int
    done: int


def require_tools() -> None:
    """Raises BenchError, saying what is missing and how to get it."""
    missing = {
        "wrk": "apt install wrk, or https://github.com/wg/wrk",
        "node": "apt install nodejs, or https://nodejs.org",
        "taskset": "apt install util-linux",
    }
    lacking = [f"{name} ({how})" for name, how in missing.items() if shutil.which(name) is None]
    if lacking:
        raise BenchError(f"this benchmark needs {' and '.join(lacking)}")
    if not {ROUTER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError(
            f"this benchmark needs cores {ROUTER_CORE} and {LOAD_CORE}: the router gets one, the "
            "load and the engine the other"
        )


def whole(url: str, keys: Sequence[str], model: str, connections: int, seconds: float) -> Whole:
    """Requests as fast as they are answered. Raises BenchError when wrk can't reach it."""
    said = subprocess.run(
        [
            *("taskset", "-c", str(LOAD_CORE), "wrk", "--latency", "-t1", f"-c{connections}"),
            *(f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(HERE / "post.lua")),
            f"{url}/v1/chat/completions",
        ],
        env={**os.environ, "BENCH_KEYS": ",".join(keys), "BENCH_MODEL": model},
        capture_output=True,
        text=True,
    )
    try:
        return parse(said.stdout)
    except (TypeError, ValueError):
        raise BenchError(f"wrk said of {url}:\n{said.stdout}{said.stderr}") from None


def parse(said: str) -> Whole:
    """wrk's report. Raises TypeError when it is none."""

    def found(pattern: str) -> re.Match[str]:
        match = re.search(pattern, said)
        if match is None:
            raise TypeError(pattern)
        return match

    def latency(share: int) -> float:
        match = found(rf"\s{share}%\s+([\d.]+)(us|ms|s|m)\b")
        return float(match[1]) * _UNITS[match[2]]

    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    failed = int(refused[1]) if refused else 0
    failed += sum(map(int, broken.groups())) if broken else 0
    return Whole(
        per_second=float(found(r"Requests/sec:\s+([\d.]+)")[1]),
        p50_ms=latency(50),
        p99_ms=latency(99),
        failed=failed,
        requests=int(found(r"(\d+) requests in")[1]),
    )


def streams(url: str, keys: Sequence[str], model: str, at_once: int, total: int) -> Streams:
    """`total` streams, `at_once` at a time. Raises BenchError."""
    said = subprocess.run(
        [
            *("taskset", "-c", str(LOAD_CORE), "node", str(HERE / "streams.js")),
            *(url, ",".join(keys), model, str(at_once), str(total)),
        ],
        capture_output=True,
        text=True,
    )
    try:
        return Streams(**json.loads(said.stdout))
    except (TypeError, ValueError):
        raise BenchError(f"the stream client said of {url}:\n{said.stdout}{said.stderr}") from None
