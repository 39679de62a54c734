"""`python -m bench NAME …`: run a benchmark; a table of ratios, or `--json`."""

from __future__ import annotations

import argparse
import sys

from bench.processes import BenchError
from bench.report import Report


def main() -> int:
    """Entry point; 1 when something that was to hold did not."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON for a script to read")
    common.add_argument("--rounds", type=int, default=3, help="turns of each side [3]")
    common.add_argument("--seconds", type=float, default=8.0, help="length of each turn [8]")
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    cliff = names.add_parser("cliff", parents=[common], help="working sets beyond the slots")
    cliff.add_argument("--part", action="append", choices="abc", help="only this one (again: more)")
    fairness = names.add_parser("fairness", parents=[common], help="one floods, seven don't")
    fairness.add_argument("--seqs", type=int, default=64, help="the engine's max_num_seqs [64]")
    names.add_parser("overhead", parents=[common], help="beside the engine alone")
    chosen = parser.parse_args()
    try:
        reports = _run(chosen)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    for report in reports:
        report.show(as_json=chosen.json)
    return 0 if all(held for report in reports for _, held in report.verdicts) else 1


def _run(chosen: argparse.Namespace) -> list[Report]:
    rounds, seconds = chosen.rounds, chosen.seconds
    if chosen.name == "cliff":
        from bench import cliff

        return cliff.main(chosen.part or "abc", rounds, seconds)
    if chosen.name == "fairness":
        from bench import fairness

        return fairness.main(rounds, seconds, chosen.seqs)
    if chosen.name == "overhead":
        from bench import overhead

        return overhead.main(rounds, seconds)
    raise AssertionError(chosen.name)


if __name__ == "__main__":
    sys.exit(main())
