"""Everything that the command line raises itself.

CliError
├── NoRegistry       the home folder holds no registry yet
├── AlreadyRunning   another `switchyard up` holds the home folder
├── PortInUse        a port that a process needs is taken
├── BadRows          a training file has rows that can't be trained on
├── UnusableInput    a file that a command is to look at can't be read as what it should be
├── NotEvaluated     a version could not be asked, so that there is no verdict
├── JobFailed        the job that a command waited for did not succeed
├── NoPictures       matplotlib, which draws the report's pictures, is not installed
├── NotStartable     a process can't start, and trying again changes nothing
├── ProcessFailed    a process of the platform can't be started or kept running
└── StepFailed       a step of the demo did not do what it promises

Each message is complete: what, where, what was expected, what to do next. `main` prints it on one
line of stderr and exits with code 1.
"""

from __future__ import annotations

from pathlib import Path


class CliError(Exception):
    """Base of the command line's own errors."""


class NoRegistry(CliError):
    """The home folder holds no registry yet."""

    def __init__(self, home: Path) -> None:
        super().__init__(
            f"there is no registry in {home}: start the platform with `switchyard up`, create a "
            "first tenant with `switchyard tenant create NAME`, or name another folder by --home "
            "or SWITCHYARD_HOME"
        )


class AlreadyRunning(CliError):
    """Another `switchyard up` holds the home folder."""

    def __init__(self, home: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{home} is in use: `switchyard up` runs there already ({who}); stop that one first "
            "(Ctrl-C, or SIGTERM), or give this one another folder by --home"
        )
        self.pid = pid


class PortInUse(CliError):
    """A port that a process needs is taken."""

    def __init__(self, what: str, host: str, port: int, setting: str, owner: str = "") -> None:
        by = f" by {owner}" if owner else ""
        super().__init__(
            f"port {port} on {host}, wanted for {what}, is in use{by}: stop what listens there, or "
            f"choose another port with {setting}"
        )
        self.port = port


class BadRows(CliError):
    """A training file has rows that can't be trained on; `lines` has one line for each."""

    def __init__(self, path: Path, lines: list[str], good: int, shown: int = 20) -> None:
        more = [f"  … and {len(lines) - shown} more"] if len(lines) > shown else []
        keep = (
            f"or train on the {good} good rows with --keep-good-rows"
            if good
            else "there is no good row in it"
        )
        super().__init__(
            "\n".join(
                [
                    f"{path} has {len(lines)} bad row{'s' if len(lines) != 1 else ''}; "
                    "nothing was uploaded:",
                    *(f"  {line}" for line in lines[:shown]),
                    *more,
                    f"correct the file, {keep}",
                ]
            )
        )
        self.lines = lines


class UnusableInput(CliError):
    """A file that a command is to look at can't be read as what it should be."""

    exit_code = 2


class NotEvaluated(CliError):
    """A version could not be asked: no engine, no rival. Not to be taken for a rejection."""

    exit_code = 2


class JobFailed(CliError):
    """The job that a command waited for did not succeed."""


class NoPictures(CliError):
    """matplotlib, which draws the report's pictures, is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the page's pictures need matplotlib, which is not installed here: install the extra "
            "that has it, `pip install 'switchyard[report]'`, or run the command in the "
            "controller's image, which has it; without --html it needs nothing"
        )


class NotStartable(CliError):
    """A process can't start for a reason that trying again won't change: `up` gives up at once."""

    exit_code = 78  # EX_CONFIG of sysexits.h


class ProcessFailed(CliError):
    """A process of the platform can't be started or kept running."""


class StepFailed(CliError):
    """A step of the demo did not do what it promises."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"step {step!r} failed: {reason}")
        self.step = step
        self.reason = reason
