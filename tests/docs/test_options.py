"""The table of a job's options says what the code says: every option, with its default."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from train.spec import PRESETS, TrainingSpec

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
SECTION = PAGE.partition("\n## Options\n")[2].partition("\n## ")[0]
OPTIONS, _, PRESETS_TABLE = SECTION.partition("\n| preset |")
ROWS = dict(re.findall(r"^\| `(\w+)` \| *([^|]*?) *\|", OPTIONS, re.M))
DERIVED = {"alpha", "learning_rate", "epochs"}
"""None stands for a rule, which the table gives in its place."""


def test_every_option_is_in_the_table_and_none_that_there_is_not() -> None:
    assert sorted(ROWS) == sorted(field.name for field in dataclasses.fields(TrainingSpec))


def test_the_defaults_are_those_of_the_code() -> None:
    for field in dataclasses.fields(TrainingSpec):
        if field.name in DERIVED:
            assert ROWS[field.name], field.name
        elif field.default is None:
            assert ROWS[field.name] == "", field.name
        else:
            said = str(field.default).lower()
            assert ROWS[field.name] in (said, said.removesuffix(".0")), field.name


def test_every_preset_is_explained_with_what_it_sets() -> None:
    for name, options in PRESETS.items():
        (line,) = re.findall(rf"^\| `{name}` \|.*$", PRESETS_TABLE, re.M)
        for option, value in options.items():
            assert f"`{option}` {value:g}" in line, (name, option)
