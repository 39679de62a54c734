"""A job's files → its rows: divided, as many as are measured, and as the audit looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from train import general as chats
from train import rows as files
from train.errors import InvalidTrainingFile
from train.general import General
from train.rows import SLICE, Row
from train.spec import TrainingSpec
from train.split import Split, is_held_out, rank_by_hash, separate, split
from train.task import Task


@dataclass(frozen=True)
class Data:
    """`measured` are the rows of the evaluation; `selected_on_test` says that they also chose when
    to stop. `training` and `held` are the files' rows, `skipped` tells of those passed over.
    `general` is the general set, and `replayed` those of its rows that are learned too."""

    split: Split
    measured: list[Row]
    selected_on_test: bool = False
    training: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    skipped: str = ""
    general: General | None = None
    replayed: list[Row] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """SHA-256 of all rows that the adapter was made or chosen by, hex."""
        divided = self.split
        return files.digest([*divided.train, *divided.validation, *divided.test, *self.replayed])


def read(folder: Path, task: Task, spec: TrainingSpec) -> Data:
    """The rows, divided, with at most `evaluation_rows` to measure on. A validation file says when
    to stop and measures too, which `selected_on_test` tells; beside it those rows of the training
    file measure that say so. Raises InvalidTrainingFile, and InvalidSpec for the general file."""
    content = (folder / task.training).read_bytes()
    rows = files.for_objective(files.read(content, keep_good_rows=spec.keep_good_rows), spec)
    skipped = ""
    if spec.keep_good_rows:
        _, errors = files.parse(content)
        skipped = files.describe(errors, len(rows) + len(errors)) if errors else ""
    held: list[Row] = []
    if task.validation is None:
        divided = split(rows, spec.validation_fraction, spec.test_fraction, group_by=spec.group_by)
    else:
        param = "validation_file"
        held = files.read(
            (folder / task.validation).read_bytes(),
            keep_good_rows=spec.keep_good_rows,
            param=param,
        )
        held = files.for_objective(held, spec, param)
        kept = [row for row in rows if is_held_out(row)]
        divided = separate([row for row in rows if not is_held_out(row)], held, kept)
    if not divided.train:
        raise InvalidTrainingFile(
            f"None of {len(rows)} rows is left to learn from: all are, or nearly are, questions "
            "of the validation rows",
            "training_file",
        )
    stopping = _some(divided.validation, task.evaluation_rows)
    both = task.validation is not None or not divided.test
    pool = [*divided.validation, *divided.test] if both else divided.test
    measured = _some(pool, task.evaluation_rows, spec.gain_on)
    divided = Split(divided.train, stopping, divided.test, divided.left_out)
    general = _general(folder, task)
    replayed: list[Row] = []
    if spec.replay and spec.replay_source == "file":
        replayed = chats.as_they_stand(general, spec.replay, len(divided.train), spec.seed)
    return Data(divided, measured, both, rows, held, skipped, general, replayed)


def _general(folder: Path, task: Task) -> General:
    """Raises InvalidSpec."""
    if task.general is None:
        return chats.made_up(task.general_rows)
    return chats.of_file((folder / task.general).read_bytes(), task.general, task.general_rows)


def _some(rows: Sequence[Row], most: int, first: str | None = None) -> list[Row]:
    """At most so many of the rows, chosen by their own hash, in the order of the file. Those of the
    slice `first` get half of the places, more where others don't fill theirs."""
    ranked = rank_by_hash(rows, "evaluation-1")
    new = [row for row in ranked if first is not None and row.metadata.get(SLICE) == first]
    those, half = {id(row) for row in new}, (most + 1) // 2
    others = [row for row in ranked if id(row) not in those]
    chosen = {id(row) for row in [*new[:half], *others, *new[half:]][:most]}
    return [row for row in rows if id(row) in chosen]
