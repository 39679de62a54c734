"""The shape of a training file's first lines, so that a wrong file is refused at its upload.

Looks at no more than LINES of them: what the whole file is worth, the worker's audit says.
"""

from __future__ import annotations

import json
from typing import IO, Any

from router.errors import InvalidRequest

LINES = 100
LONGEST_LINE = 8 << 20
"""Bytes of one line; a conversation that is longer fits no model."""

_EXPECTED = (
    '{"messages": […]} that ends with the assistant\'s answer, '
    '{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]} '
    'or {"prompt": …, "completion": …}'
)


def check(file: IO[bytes]) -> None:
    """Raises InvalidRequest; it names the line. The file is read from its start."""
    file.seek(0)
    seen = 0
    for number in range(1, LINES + 1):
        line = file.readline(LONGEST_LINE + 1)
        if not line:
            break
        if len(line) > LONGEST_LINE:
            raise _wrong(number, f"it is longer than {LONGEST_LINE} bytes")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            _check_line(number, line)
            seen += 1
    if not seen:
        raise _refusal(f"The file holds no examples: expected JSON Lines, each {_EXPECTED}.")


def _check_line(number: int, line: bytes) -> None:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        raise _wrong(number, "it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _wrong(number, "it is not one JSON object") from None
    if not isinstance(row, dict):
        raise _wrong(number, "it is not a JSON object")
    if "messages" in row:
        _check_messages(number, "messages", row["messages"], answered=True)
    elif "preferred_output" in row or "non_preferred_output" in row:
        asked = row.get("input")
        messages = asked.get("messages") if isinstance(asked, dict) else None
        _check_messages(number, "input.messages", messages)
        for name in ("preferred_output", "non_preferred_output"):
            _check_messages(number, name, row.get(name), answered=True)
    elif not (isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str)):
        raise _wrong(number, f"expected {_EXPECTED}")


def _check_messages(number: int, name: str, found: Any, *, answered: bool = False) -> None:
    if not isinstance(found, list) or not found:
        raise _wrong(number, f"{name} is not a list of messages")
    for at, message in enumerate(found):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _wrong(number, f"{name}[{at}] is not a message with a role")
    if answered and found[-1]["role"] != "assistant":
        raise _wrong(number, f"the last of {name} is not the assistant's")


def _wrong(number: int, why: str) -> InvalidRequest:
    return _refusal(f"Invalid file format. Line {number}: {why}.")


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="file", code="invalid_file_format")
