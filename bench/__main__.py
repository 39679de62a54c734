"""`python -m bench [NAME …]`: run the benchmarks named, or all of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from bench import router

BENCHMARKS: dict[str, Callable[[float], None]] = {"router": router.main}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    chosen = parser.parse_args()
    for name in chosen.names or BENCHMARKS:
        BENCHMARKS[name](chosen.seconds)


if __name__ == "__main__":
    main()
