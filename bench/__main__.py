"""`python -m bench [NAME …]`: run benchmarks; tables of ratios, or `--json`. Without a name: all.

Ends with 1 when something that was to hold did not, with 2 when a benchmark could not be run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench.processes import BenchError
from bench.report import Report
from bench.router.peers import PEERS, default_folder


def main() -> int:
    """Entry point."""
    parser = _parser()
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in RUNS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: expected {', '.join(RUNS)}")
    held = True
    for name in chosen.names or RUNS:
        try:
            reports = RUNS[name](chosen)
        except BenchError as error:
            print(f"bench {name}: {error}", file=sys.stderr)
            return 2
        for report in reports:
            report.show(as_json=chosen.json)
            held = held and all(held for _, held in report.verdicts)
    return 0 if held else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--json", action="store_true", help="print JSON for a script to read")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side [3]")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each turn [8]")
    group = parser.add_argument_group("router and memory")
    group.add_argument("--peers", type=Path, help="where their environments are or will be made")
    group.add_argument("--without", action="append", default=[], choices=[*PEERS, "river", "alibi"])
    group.add_argument("--access-log", action="store_true", help="ours writes a line a request")
    group.add_argument("--requests", type=int, default=300_000, help="of the memory run [300000]")
    group = parser.add_argument_group("cliff, fairness and train")
    group.add_argument("--part", action="append", choices="abc", help="only this one")
    group.add_argument("--seqs", type=int, default=64, help="fairness: max_num_seqs [64]")
    group = parser.add_argument_group("drift (and methods)")
    group.add_argument("--quick", action="store_true", help="a smoke; of methods, one epoch")
    group.add_argument("--kept", type=Path, help="where what was computed is kept, to go on from")
    group.add_argument("--limit", type=float, default=7200.0, help="seconds until it stops [7200]")
    return parser


def _router(chosen: argparse.Namespace) -> list[Report]:
    from bench.router import run

    folder = chosen.peers or default_folder()
    without = frozenset(chosen.without)
    log = chosen.access_log
    return [run.compare(chosen.rounds, chosen.seconds, folder, without, access_log=log)]


def _memory(chosen: argparse.Namespace) -> list[Report]:
    from bench.router import run

    return [run.memory(chosen.requests, access_log=chosen.access_log)]


def _overhead(chosen: argparse.Namespace) -> list[Report]:
    from bench import overhead

    return overhead.main(chosen.rounds, chosen.seconds)


def _cliff(chosen: argparse.Namespace) -> list[Report]:
    from bench import cliff

    return cliff.main(chosen.part or "abc", chosen.rounds, chosen.seconds)


def _fairness(chosen: argparse.Namespace) -> list[Report]:
    from bench import fairness

    return fairness.main(chosen.rounds, chosen.seconds, chosen.seqs)


def _methods(chosen: argparse.Namespace) -> list[Report]:
    # Before torch is there: threads that wait must not spin, or little else on these cores gets on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bench import methods

    return methods.main(chosen.quick)


def _signals(chosen: argparse.Namespace) -> list[Report]:
    from bench import signals

    return signals.main(chosen.rounds)


def _train(chosen: argparse.Namespace) -> list[Report]:
    from bench import train

    return train.main("".join(chosen.part or "ab"), chosen.rounds)


def _drift(chosen: argparse.Namespace) -> list[Report]:
    from bench.drift import run

    sizes = run.QUICK if chosen.quick else run.Sizes()
    return run.main(sizes, chosen.kept, chosen.peers, chosen.limit, frozenset(chosen.without))


RUNS: dict[str, Callable[[argparse.Namespace], list[Report]]] = {
    "router": _router,
    "memory": _memory,
    "overhead": _overhead,
    "cliff": _cliff,
    "fairness": _fairness,
    "methods": _methods,
    "train": _train,
    "signals": _signals,
    "drift": _drift,
}


if __name__ == "__main__":
    sys.exit(main())
