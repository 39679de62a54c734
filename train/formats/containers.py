"""Files → records, one at a time: JSON Lines, a JSON array, CSV, Parquet, plain text, a dataset of
Hugging Face's.

Holds one line, one element of an array or one batch of a Parquet file in memory, never a file.
Knows nothing of what records mean. Raises OSError for a file that can't be opened, Unreadable for
one that isn't what its name says.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from train.rows import Record, RowError, lines

Count = Callable[[int], None]
"""Told how many bytes of the file have been read."""

HUB = "hf:"
_CHUNK = 1 << 16
_BATCH = 1024
_ARRAY = re.compile(rb"\s*\[\s*[{\]]")


class Unreadable(Exception):
    """A file or dataset that can't be read as what it is said to be."""


def unit_of(source: str) -> str:
    """What a record's number counts."""
    if source.startswith(HUB) or _suffix(source) in (".csv", ".tsv", ".parquet"):
        return "row"
    return "line"


def records(source: str, count: Count = lambda _: None) -> Iterator[Record]:
    """The records of a file by its name's ending, or of `hf:owner/name[:config][:split]`."""
    if source.startswith(HUB):
        yield from _hub(source)
        return
    with Path(source).open("rb") as file:
        if _suffix(source) in (".csv", ".tsv"):
            yield from _table(file, count)
        elif _suffix(source) == ".parquet":
            yield from _parquet(source, file, count)
        elif _suffix(source) == ".txt":
            yield from _passages(_counted(file, count))
        elif _suffix(source) != ".jsonl" and _is_array(file):
            yield from _array(file, count)
        else:
            yield from lines(_counted(file, count))


def _suffix(source: str) -> str:
    return Path(source).suffix.lower()


def _counted(file: BinaryIO, count: Count) -> Iterator[bytes]:
    done = 0
    for line in file:
        done += len(line)
        count(done)
        yield line


def _is_array(file: BinaryIO) -> bool:
    start = file.read(_CHUNK).removeprefix(codecs.BOM_UTF8)
    file.seek(0)
    return _ARRAY.match(start) is not None


def _table(file: BinaryIO, count: Count) -> Iterator[Record]:
    """Rows count from 1 after the header; empty cells are no values."""
    number = 0
    try:
        decoded = codecs.iterdecode(_counted(file, count), "utf-8-sig")
        header = next(decoded, "")
        delimiter = max(",;\t", key=header.count)
        reader = csv.DictReader(
            _again(header, decoded), delimiter=delimiter, strict=True, restkey="", restval=None
        )
        expected = f"{len(reader.fieldnames or ())} cells, as the header has"
        for number, row in enumerate(reader, start=1):
            if "" in row:
                found = f"{len(row) - 1 + len(row['']) if isinstance(row[''], list) else 'no name'}"
                yield number, RowError(number, "", expected, found, "row")
            elif None in row.values():
                cells = sum(value is not None for value in row.values())
                yield number, RowError(number, "", expected, str(cells), "row")
            else:
                yield number, {name: value for name, value in row.items() if value != ""}
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        yield number + 1, RowError(number + 1, "", "UTF-8 text", found, "row")
    except csv.Error as error:
        yield number + 1, RowError(number + 1, "", "a row of CSV", str(error), "row")


def _again(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _parquet(source: str, file: BinaryIO, count: Count) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        opened = parquet.ParquetFile(file)
        number = 0
        for batch in opened.iter_batches(batch_size=_BATCH):
            for value in batch.to_pylist():
                number += 1
                yield number, {name: item for name, item in value.items() if item is not None}
            count(file.tell())
    except pyarrow.ArrowException as error:
        raise Unreadable(f"{source} is not a Parquet file: {_first_line(error)}") from None


def _passages(text: Iterable[bytes]) -> Iterator[Record]:
    """Passages between blank lines; each has the number of its first line."""
    passage: list[str] = []
    start = 1
    for number, raw in enumerate(text, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield number, RowError(number, "", "UTF-8 text", f"byte 0x{raw[error.start]:02x}")
            continue
        if line.strip():
            start = start if passage else number
            passage.append(line)
        elif passage:
            yield start, {"text": "\n".join(passage)}
            passage = []
    if passage:
        yield start, {"text": "\n".join(passage)}


def _array(file: BinaryIO, count: Count) -> Iterator[Record]:
    """The elements of one JSON array, numbered from 1; ends at the first broken one."""
    decoder, scan = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder().raw_decode
    buffer, at, number, ended, wanted = "", 0, 0, False, _CHUNK
    opened = False
    while True:
        while not ended and len(buffer) - at < wanted:
            chunk = file.read(_CHUNK)
            try:
                buffer, at = buffer[at:] + decoder.decode(chunk, not chunk), 0
            except UnicodeDecodeError as error:
                found = f"byte 0x{error.object[error.start]:02x}"
                yield number + 1, RowError(number + 1, "", "UTF-8 text", found, "element")
                return
            ended = not chunk
            count(file.tell())
        while at < len(buffer) and (buffer[at].isspace() or buffer[at] in ("," if opened else "[")):
            opened = opened or buffer[at] == "["
            at += 1
        if at == len(buffer):
            if ended:  # no bracket closes the array
                wrong = RowError(number + 1, "", "] at the array's end", "nothing", "element")
                yield number + 1, wrong
                return
            continue
        if buffer[at] == "]":
            return
        try:
            value, at = scan(buffer, at)
        except (ValueError, RecursionError):
            if not ended:
                wanted = 2 * (len(buffer) - at)  # an element longer than what is here
                continue
            yield number + 1, RowError(number + 1, "", "one JSON object", "broken JSON", "element")
            return
        number, wanted = number + 1, _CHUNK
        yield number, value


def _hub(source: str) -> Iterator[Record]:
    from datasets import load_dataset

    name, *rest = source.removeprefix(HUB).split(":")
    config = rest[0] if len(rest) == 2 else None
    split = rest[-1] if rest else "train"
    try:
        found: Any = load_dataset(name, config or None, split=split, streaming=True)
        for number, value in enumerate(found, start=1):
            yield number, {key: item for key, item in value.items() if item is not None}
    except (OSError, ValueError, RuntimeError) as error:  # the library's own derive from these
        raise Unreadable(f"{source} can't be read: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
