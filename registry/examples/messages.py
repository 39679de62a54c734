"""Lists of messages and single texts, checked: the clean value, or what is wrong with it where.

Knows nothing of files, lines or rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

ROLES = ("system", "user", "assistant")

Message = dict[str, str]


class Fault(NamedTuple):
    """A field that is not what was expected."""

    field: str
    expected: str
    found: str


def conversation(value: Any, field: str) -> list[Message] | Fault:
    """Messages that end with the assistant's answer and hold a user's turn."""
    clean = turns(value, field)
    if isinstance(clean, Fault):
        return clean
    if clean[-1]["role"] != "assistant":
        last = f"{field}[{len(clean) - 1}].role"
        return Fault(last, "assistant (the answer to learn)", repr(clean[-1]["role"]))
    if not any(message["role"] == "user" for message in clean):
        return Fault(field, "at least one user message", "none")
    return clean


def prompt(value: Any, field: str) -> list[Message] | Fault:
    """What is said before the answer: messages with a user's turn, or the user's text alone."""
    if not isinstance(value, list):
        said = text(value, field)
        return said if isinstance(said, Fault) else [{"role": "user", "content": said}]
    clean = turns(value, field)
    if isinstance(clean, Fault):
        return clean
    if not any(message["role"] == "user" for message in clean):
        return Fault(field, "at least one user message", "none")
    return clean


def answer(value: Any, field: str) -> str | Fault:
    """A text, or a list with one message of the assistant's."""
    if not isinstance(value, list):
        return text(value, field)
    clean = turns(value, field)
    if isinstance(clean, Fault):
        return clean
    if len(clean) != 1 or clean[0]["role"] != "assistant":
        found = " and ".join(message["role"] for message in clean)
        return Fault(field, "one message of the assistant's", found)
    return clean[0]["content"]


def turns(value: Any, field: str) -> list[Message] | Fault:
    """Messages with a known role and a text each; a system message at the start only."""
    if not isinstance(value, list) or not value:
        return Fault(field, "a list of messages", named(value))
    clean: list[Message] = []
    for index, message in enumerate(value):
        where = f"{field}[{index}]"
        if not isinstance(message, dict):
            return Fault(where, "an object with role and content", named(message))
        role = message.get("role")
        if role not in ROLES:
            shown = repr(role[:20]) if isinstance(role, str) else named(role)
            return Fault(f"{where}.role", "system, user or assistant", shown)
        content = text(message.get("content"), f"{where}.content")
        if isinstance(content, Fault):
            return content
        if role == "system" and index > 0:
            return Fault(f"{where}.role", "a system message only at the start", "one here")
        clean.append({"role": role, "content": content})
    return clean


def text(value: Any, field: str) -> str | Fault:
    """A text with something in it."""
    if not isinstance(value, str):
        return Fault(field, "a text", named(value))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return Fault(field, "Unicode text", "half a surrogate pair")
    if not value.strip():
        return Fault(field, "a text that is not empty", "an empty text")
    return value


def named(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {dict: "an object", str: "a text", bool: "true or false", int: "a number"}
    return names.get(type(value), "a number")
