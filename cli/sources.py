"""Training data as the command line names it → the JSON Lines that a job takes.

One file of JSON Lines goes as it is. Anything else, and several together, become canonical lines
here, so that a worker reads one format only.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from cli import render
from cli.errors import BadRows, CliError, UnusableInput

if TYPE_CHECKING:
    from train.rows import RowError

HUB = "hf:"


@dataclass
class Converted:
    """What was read of one source."""

    source: str
    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    errors: list[RowError] = field(default_factory=list)


def weights(sources: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """`NAME=2` for each of the sources, by its path or its file's name; 1 where none is said."""
    found = dict.fromkeys(sources, 1.0)
    for text in given:
        name, equals, value = text.rpartition("=")
        meant = [source for source in sources if name in (source, Path(source).name)]
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not equals or not meant or not 0 < number <= 1000:
            raise typer.BadParameter(
                f"--weight {text!r}: expected FILE=NUMBER, a file among the data, over 0 to 1000"
            )
        found[meant[0]] = number
    return found


def convert(
    sources: Sequence[str], weight: dict[str, float], out: BinaryIO, *, quiet: bool = False
) -> list[Converted]:
    """Write the rows of all sources as canonical lines, with their source and weight where there
    are several or one is weighed. Errors are kept beside. Raises UnusableInput, CliError."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from train.formats.containers import Unreadable
    from train.formats.reading import iter_rows, line_of
    from train.rows import Row

    several = len(sources) > 1 or any(value != 1.0 for value in weight.values())
    screen = render.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    hidden = quiet or not screen.is_terminal
    done = []
    with Progress(*columns, console=screen, disable=hidden, transient=True) as bars:
        for source in sources:
            found = Converted(source)
            size = None if source.startswith(HUB) else _size(source)
            bar = bars.add_task(Path(source).name, total=size)
            try:
                for row in iter_rows(source, lambda at, bar=bar: bars.update(bar, completed=at)):  # type: ignore[misc]
                    if not isinstance(row, Row):
                        found.errors.append(row)
                        continue
                    found.rows += 1
                    found.kinds[row.kind] += 1
                    name = Path(source).name if several else ""
                    out.write(line_of(row, name, weight.get(source, 1.0)))
            except Unreadable as error:
                raise UnusableInput(str(error)) from None
            except ImportError as error:
                raise CliError(
                    f"{source} needs the package {error.name!r}: install the extra `train`"
                ) from None
            done.append(found)
    kinds = {kind for found in done for kind in found.kinds}
    if len(kinds) > 1:
        said = "; ".join(f"{f.source}: {', '.join(sorted(f.kinds)) or 'none'}" for f in done)
        raise UnusableInput(f"the files hold rows of several kinds ({said}): train on one kind")
    return done


def refuse_bad(found: Sequence[Converted], keep_good_rows: bool) -> None:
    """Raises BadRows for the first source with bad rows, unless the good ones are to be kept;
    CliError where there is no row at all."""
    for one in found:
        if one.errors and not (keep_good_rows and one.rows):
            raise BadRows(Path(one.source), [str(error) for error in one.errors], one.rows)
    if not sum(one.rows for one in found):
        names = ", ".join(one.source for one in found)
        raise CliError(f'{names} holds no rows: expected one {{"messages": […]}} object a line')


def _size(source: str) -> int:
    try:
        return os.stat(source).st_size
    except OSError as error:
        raise UnusableInput(f"{source}: {error.strerror}; expected training examples") from None
