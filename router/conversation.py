"""Conversations: a number that all requests of one conversation share, and hardly any other. Pure.

A chat's beginning stays as it is while the chat grows, so system prompt and first question tell one
from another, without anybody having to send an id. Who has one sends it in a header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

HEADER = b"x-switchyard-conversation"
_PREFIX = 512
_items = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)


class _Role(msgspec.Struct):
    role: str = ""


_role = msgspec.json.Decoder(_Role)
_USER = ("user", "safety_identifier")
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def key(
    fields: Mapping[str, msgspec.Raw], header: bytes | None, sticky: str, request_id: str
) -> int:
    """64 bits. `sticky` as in registry.aliases: "conversation", "user" or "none".

    Without anything to go by (a text completion, a broken message) each request stands for itself.
    """
    said: bytes | None = None
    if sticky == "conversation":
        said = header or _beginning(fields.get("messages"))
    elif sticky == "user":
        said = _user(fields) or header or _beginning(fields.get("messages"))
    return number(said or request_id.encode())


def rough(fields: Mapping[str, msgspec.Raw], header: bytes | None) -> int:
    """The same for choosing a replica, where a mistake costs a cold cache and no more: from the
    prompt's first bytes, which is cheaper. 0 where there is nothing to go by."""
    said = header
    if said is None:
        raw = fields.get("messages") or fields.get("prompt") or fields.get("input")
        said = bytes(memoryview(raw)[:_PREFIX]) if raw is not None else b""
    return number(said) if said else 0


def number(said: bytes) -> int:
    """Bytes as an evenly spread number."""
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")


def _beginning(raw: msgspec.Raw | None) -> bytes | None:
    """Everything up to the first message of a user."""
    if raw is None:
        return None
    said = []
    try:
        for message in _items.decode(raw):
            said.append(bytes(message))
            if _role.decode(message).role == "user":
                break
    except _BROKEN:
        return None
    return b"".join(said)


def _user(fields: Mapping[str, msgspec.Raw]) -> bytes | None:
    for name in _USER:
        if name in fields:
            try:
                return _string.decode(fields[name]).encode()
            except _BROKEN:
                continue
    return None
