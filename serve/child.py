"""Start a command that dies with its supervisor: `python -m serve.child PARENT_PID COMMAND…`.

Asks Linux for SIGKILL at the parent's death, then becomes the command: the wish survives `exec`.
Done here and not by a hook between fork and exec, which may deadlock in a process that has
threads. The signal comes when the *thread* that spawned us ends: spawn from one that lives as
long as the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask for SIGKILL when the parent dies; end at once if it is dead already. Linux only: does
    nothing elsewhere."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Never returns."""
    parent, *command = arguments
    die_with_parent(int(parent))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
