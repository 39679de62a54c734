"""Streams as vLLM 0.32 writes them: the events of an answer, in order, as bytes."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.fake_shapes import Json, text_choice

DONE = b"data: [DONE]\n\n"


def _data(body: Json) -> bytes:
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return f"data: {text}\n\n".encode()


@dataclass
class TextChunks:
    """A text completion. `words`: one a step, for each of `count` choices."""

    head: Json
    count: int
    words: list[str]
    finish: str
    usage: Json
    object = "text_completion"

    def steps(self) -> list[bytes]:
        """The events of each step of generation."""
        cut = self.finish == "length"
        last = len(self.words) - 1
        return [
            self._chunks(word, self.finish if cut and number == last else None)
            for number, word in enumerate(self.words)
        ]

    def last(self, body: Json) -> list[bytes]:
        """What follows: why it ended, usage where asked for, and the end."""
        events = [] if self.finish == "length" else [self._chunks("", self.finish)]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(self._chunk([], usage=self.usage))
        return [*events, DONE]

    def _chunks(self, word: str, finish: str | None) -> bytes:
        return b"".join(self._chunk([self._choice(n, word, finish)]) for n in range(self.count))

    def _chunk(self, choices: list[Json], **more: Any) -> bytes:
        return _data({**self.head, "object": self.object, "choices": choices, **more})

    def _choice(self, index: int, word: str, finish: str | None) -> Json:
        return text_choice(word, index, finish_reason=finish)


class ChatChunks(TextChunks):
    """A chat."""

    object = "chat.completion.chunk"

    def first(self) -> list[bytes]:
        """Who speaks."""
        delta = {"role": "assistant", "content": ""}
        choices = [self._of(n, delta, None) for n in range(self.count)]
        return [self._chunk([choice], prompt_token_ids=None) for choice in choices]

    def _choice(self, index: int, word: str, finish: str | None) -> Json:
        stopped = {"stop_reason": None} if finish else {}
        return self._of(index, {"content": word}, finish) | stopped | {"token_ids": None}

    def _of(self, index: int, delta: Json, finish: str | None) -> Json:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


@dataclass
class ResponseEvents:
    """A response object and its stream of named events."""

    body: Json
    model: str
    words: list[str]
    finish: str
    prompt_tokens: int
    number: int = -1
    begun: Json = field(init=False)
    item: Json = field(init=False)

    def __post_init__(self) -> None:
        self.begun = response(self.body, self.model, time.time())
        self.item = message("".join(self.words))

    def whole(self) -> Json:
        """The object once everything was generated."""
        tokens = len(self.words) + (self.finish == "stop")
        return ended(self.begun, self.item, self.finish, self.prompt_tokens, tokens)

    def first(self) -> list[bytes]:
        """The object as it begins, and its first item."""
        opened = self.item | {"content": [], "status": "in_progress"}
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        return [
            self._event("created", response=self.begun),
            self._event("in_progress", response=self.begun),
            self._event("output_item.added", item=opened, output_index=0),
            self._event("content_part.added", part=part, **self._place()),
        ]

    def steps(self) -> list[bytes]:
        """One event a word."""
        return [
            self._event("output_text.delta", delta=word, logprobs=[], **self._place())
            for word in self.words
        ]

    def last(self) -> list[bytes]:
        """What was said in full, and the object as it ended."""
        part = self.item["content"][0]
        return [
            self._event("output_text.done", text=part["text"], logprobs=[], **self._place()),
            self._event("content_part.done", part=part, **self._place()),
            self._event("output_item.done", item=self.item, output_index=0),
            self._event("completed", response=self.whole()),
        ]

    def _place(self) -> Json:
        return {"content_index": 0, "item_id": self.item["id"], "output_index": 0}

    def _event(self, name: str, **fields: Any) -> bytes:
        self.number += 1
        kind = f"response.{name}"
        body = fields | {"sequence_number": self.number, "type": kind}
        return f"event: {kind}\n".encode() + _data(body)


def response(body: Json, model: str, created: float) -> Json:
    """A response object as it is before anything was generated."""
    return {
        "id": f"resp_{uuid.uuid4().hex[:16]}",
        "created_at": int(created),
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": model,
        "object": "response",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": body.get("temperature") or 1.0,
        "tool_choice": "none",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": body.get("max_output_tokens") or 1000,
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": "auto",
        "status": "in_progress",
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


def message(text: str, status: str = "completed") -> Json:
    """An item of a response's output."""
    part = {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
    return {
        "id": f"msg_{uuid.uuid4().hex[:16]}",
        "content": [part] if status == "completed" else [],
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def ended(response: Json, item: Json, finish: str, prompt: int, completion: int) -> Json:
    """The response object as it is once everything was generated."""
    cut = finish == "length"
    return response | {
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [item],
        "status": "incomplete" if cut else "completed",
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": completion,
            "output_tokens_details": {
                "reasoning_tokens": 0,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": prompt + completion,
        },
    }
