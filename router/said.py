"""What an answer says: its text, and how sure the engine was, from the bytes a client got. Pure.

Only the first choice is read. Bytes may end anywhere: an event that was cut off says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

_IMPOSSIBLE = -9999.0
"""vLLM's word for a log-probability that is no number."""


class _Token(msgspec.Struct):
    logprob: float | None = None


class _Logprobs(msgspec.Struct):
    """A chat's (`content`) or a text completion's."""

    content: list[_Token] | None = None
    token_logprobs: list[float | None] | None = None

    def values(self) -> list[float | None]:
        return [token.logprob for token in self.content or ()] + (self.token_logprobs or [])


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    logprobs: list[_Token] | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    """A completion, a chunk of one, a response object, or an event of one."""

    choices: list[_Choice] = []
    output: list[_Item] = []
    type: str = ""
    delta: str | None = None
    logprobs: list[_Token] | None = None


_DELTA = re.compile(
    rb'"index":0,"delta":\{(?:"role":"[a-z]+"(?:,|(?=\})))?'
    rb'(?:"content":("[^"\\]*(?:\\.[^"\\]*)*"))?\},(?!"logprobs":\{)'
)
_texts = msgspec.json.Decoder(list[str])
_answer = msgspec.json.Decoder(_Answer)
_all = msgspec.json.Decoder(list[_Answer])
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Said:
    """`mean_logprob` is None unless the client asked for log-probabilities; `calls` says whether a
    tool was called, so that no text is no failing."""

    text: str
    mean_logprob: float | None
    calls: bool


def read(blocks: Sequence[bytes]) -> Said | None:
    """From one JSON body or from a stream's events; None when there is nothing to read."""
    raw = b"".join(blocks)
    if not raw:
        return None
    text = _plain(raw)
    if text is not None:
        return Said(text, None, False)
    bodies = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: {")] or [raw]
    answers = _decoded(bodies)
    said: list[str] = []
    logprobs: list[float | None] = []
    calls = False
    for answer in answers:
        for choice in answer.choices:
            if choice.index != 0:
                continue
            part = choice.message or choice.delta
            text = choice.text if part is None else part.content
            if text:
                said.append(text)
            if part is not None and part.tool_calls:
                calls = True
            if choice.logprobs is not None:
                logprobs += choice.logprobs.values()
        if answer.delta and answer.type == "response.output_text.delta":
            said.append(answer.delta)
            logprobs += [token.logprob for token in answer.logprobs or ()]
        for item in answer.output:
            calls = calls or item.type.endswith("_call")
            for piece in item.content or ():
                if piece.text:
                    said.append(piece.text)
                logprobs += [token.logprob for token in piece.logprobs or ()]
    if not answers:
        return None
    told = [value for value in logprobs if value is not None and value > _IMPOSSIBLE]
    return Said("".join(said), sum(told) / len(told) if told else None, calls)


def _plain(raw: bytes) -> str | None:
    """The text of a chat's stream in which each chunk, as vLLM writes it, has one choice that says
    something or nothing and no more; None for anything else. Half of what taking it apart costs.

    Neither quotes nor braces with quotes can be raw inside a JSON string, so that no text that a
    model writes looks like a field.
    """
    found = _DELTA.findall(raw)
    if not found or len(found) != raw.count(b"data: {"):
        return None
    try:
        return "".join(_texts.decode(b"[%s]" % b",".join(filter(None, found))))
    except _BROKEN:
        return None


def _decoded(bodies: Sequence[bytes]) -> list[_Answer]:
    """All at once, which costs half; one by one where one of them is no answer."""
    with suppress(*_BROKEN):
        return _all.decode(b"[%s]" % b",".join(bodies))
    answers = []
    for body in bodies:
        with suppress(*_BROKEN):  # an event cut off, or an error: no text in it
            answers.append(_answer.decode(body))
    return answers
