"""The process of one job: `python -m train.run FOLDER`.

Reads `task.json` and the data files in FOLDER, writes JSON lines of news to its standard output,
and leaves `adapter/` and `outcome.json` there. It ends at once when its standard input closes, so
that it never outlives the worker that started it; the line "pause" there asks training to rest.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from train.durable import PAUSED_EXIT, Paused, Wish
from train.errors import DiskFull, OutOfMemory, TrainingError, disk_is_full
from train.pipeline import run
from train.task import Task


def main(folder: Path) -> int:
    """Run the task in `folder`; 0 when there is an outcome, an error included."""
    news = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the news
    lock = threading.Lock()
    first = os.environ.get("RANK", "0") == "0"

    def report(message: dict[str, Any]) -> None:
        if first:  # of the processes that train together, if there are several
            with lock:
                news.write(json.dumps(message) + "\n")

    def leave() -> None:
        with lock:  # no line of news is cut
            os._exit(PAUSED_EXIT)

    wish = Wish(leave)
    threading.Thread(target=_obey, args=(wish,), daemon=True).start()
    task = Task(**json.loads((folder / "task.json").read_text(encoding="utf-8")))
    os.nice(task.nice)
    try:
        outcome = run(folder, task, report, wish)
    except Paused:
        return PAUSED_EXIT
    except TrainingError as error:
        outcome = _error(error)
    except MemoryError:
        outcome = _error(_out_of_memory(task))
    except Exception as error:
        # torch says in words what is wrong: "can't allocate memory", "CUDA out of memory".
        traceback.print_exc()
        if disk_is_full(error):
            for name in ("trainer", "states", "adapter", "quantised"):  # room for the outcome
                shutil.rmtree(folder / name, ignore_errors=True)
            outcome = _error(
                DiskFull("The worker's disk is full: free some space and start the job again")
            )
        elif isinstance(error, RuntimeError) and (
            "allocate memory" in str(error) or "out of memory" in str(error)
        ):
            outcome = _error(_out_of_memory(task))
        else:
            raise
    if not first:
        return 0
    partial = folder / "outcome.json.tmp"
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(folder / "outcome.json")
    return 0


def _error(error: TrainingError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "param": error.param}}


def _out_of_memory(task: Task) -> OutOfMemory:
    size, length = task.spec.get("batch_size"), task.spec.get("max_length")
    return OutOfMemory(
        f"Training needs more memory than there is (batch_size={size or 'default'}, "
        f"max_length={length or 'default'}): lower either, or use quantize=nf4",
        "batch_size",
    )


def _obey(wish: Wish) -> None:
    # The worker holds the other end: a read that returns nothing says that it is gone.
    while said := os.read(0, 4096):
        if b"pause" in said:
            wish.ask()
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
