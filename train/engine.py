"""A small client for any OpenAI-compatible URL: greedy chats, log-probabilities of texts.

Knows nothing about rows, scores or the registry. Blocks; several requests at a time by threads.
Answers are streamed, so that it is known when their first token came.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from train.rows import Message
from train.stream import BrokenStream, Streamed, read

_BUSY = (429, 503)
_Found = TypeVar("_Found")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would take the key along to whatever host it leads to."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the redirect is an HTTP error like any other."""


@cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Stay)


class EngineError(Exception):
    """The engine refused, was not reached, answered for another model, or its answer broke off.
    `status` is HTTP's, 0 where there was no whole answer. The message never holds the key."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """One answer, and what it took. Milliseconds count from the request, its connection included:
    `latency_ms` to the last byte, `ttft_ms` to the first token. `inter_token_ms` is the mean time
    from one token to the next; None for a single token, and where a server counts none."""

    text: str
    latency_ms: float
    prompt_tokens: int
    completion_tokens: int
    ttft_ms: float | None = None
    inter_token_ms: float | None = None


@dataclass(frozen=True)
class Engine:
    """Where to ask. `url` is the server's, without /v1. `attempts` counts tries of one request
    while the server says that it is busy (429, 503); `longest_wait` is seconds between them."""

    url: str
    key: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 5
    longest_wait: float = 8.0

    def __repr__(self) -> str:
        return f"Engine({self.url!r})"  # not the key

    def answer(
        self,
        model: str,
        conversations: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        told: Callable[[], None] = lambda: None,
    ) -> list[Answer]:
        """`model`'s most likely answer to each conversation, in order, each at most `max_tokens`
        long. `told` is called after each, from other threads. Raises EngineError."""

        def one(messages: Sequence[Message]) -> Answer:
            body = {
                "model": model,
                "messages": list(messages),
                "temperature": 0,
                "max_tokens": max_tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            found = self._patiently(lambda: self._streamed("/v1/chat/completions", body))
            told()
            return Answer(
                found.text,
                round(found.latency_ms, 2),
                found.prompt_tokens,
                found.completion_tokens,
                round(found.ttft_ms, 2),
                None if found.inter_token_ms is None else round(found.inter_token_ms, 3),
            )

        return self.each(one, conversations)

    def logprobs(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Of each token id but the first, in each text: the natural logarithm of its probability
        after those before it. vLLM's own (`prompt_logprobs`). Raises EngineError."""

        def one(ids: Sequence[int]) -> list[float]:
            body = {"model": model, "prompt": list(ids), "max_tokens": 1, "prompt_logprobs": 0}
            found = self._post("/v1/completions", body)
            given = _choice(found).get("prompt_logprobs")
            if not isinstance(given, list) or len(given) != len(ids):
                raise EngineError(f"{self.url} gives no prompt_logprobs: expected vLLM")
            pairs = zip(ids[1:], given[1:], strict=True)
            return [float(at[str(token)]["logprob"]) for token, at in pairs]

        return self.each(one, texts)

    def tokenize(self, model: str, messages: Sequence[Message], *, prompt: bool) -> list[int]:
        """The engine's own token ids of a conversation; `prompt`: an answer is to follow."""
        body = {"model": model, "messages": list(messages), "add_generation_prompt": prompt}
        found = self._post("/tokenize", body, names_model=False)
        return [int(token) for token in found["tokens"]]

    def count(self, model: str, text: str) -> int:
        """How many tokens a text has. Raises EngineError."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        found = self._post("/tokenize", body, names_model=False)
        return len(found["tokens"])

    def context(self, model: str) -> int:
        """How many tokens a prompt and its answer may have together. Raises EngineError."""
        body = {"model": model, "prompt": "a", "add_special_tokens": False}
        found = self._post("/tokenize", body, names_model=False)
        return int(found["max_model_len"])

    def chat(self, body: dict[str, Any]) -> tuple[str, str]:
        """(text, finish reason) of one chat, whatever model says that it answers: a hosted one
        goes by its dated name. Raises EngineError."""
        found = self._post("/v1/chat/completions", body, names_model=False)
        choice = _choice(found)
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        return text if isinstance(text, str) else "", str(choice.get("finish_reason"))

    def each(self, one: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """`one` of each item, `concurrency` at a time, in the items' order. The first error ends
        all of them."""
        with ThreadPoolExecutor(max(1, self.concurrency)) as pool:
            futures = [pool.submit(one, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _post(self, path: str, body: dict[str, Any], *, names_model: bool = True) -> dict[str, Any]:
        found = self._patiently(lambda: self._once(path, body))
        if names_model:
            self._check_model(found.get("model"), body)
        return found

    def _patiently(self, one: Callable[[], _Found]) -> _Found:
        """Again while the server says that it is busy."""
        retrying = Retrying(
            retry=retry_if_exception(lambda e: isinstance(e, EngineError) and e.status in _BUSY),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(0.5, max=self.longest_wait),
            reraise=True,
        )
        return retrying(one)

    def _once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._opened(path, body) as response:
            found = json.loads(response.read())
        if not isinstance(found, dict):
            raise EngineError(f"{self.url}{path}: expected a JSON object")
        return found

    def _streamed(self, path: str, body: dict[str, Any]) -> Streamed:
        started = time.perf_counter()
        with self._opened(path, body) as response:
            found = read(response, started)
        self._check_model(found.model, body)
        return found

    def _check_model(self, answered: Any, body: dict[str, Any]) -> None:
        if answered != body["model"]:
            asked = body["model"]
            raise EngineError(f"{self.url} was asked for {asked!r} and answered as {answered!r}")

    @contextmanager
    def _opened(self, path: str, body: dict[str, Any]) -> Iterator[Any]:
        """The response; what goes wrong while it is read is an EngineError too."""
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        if not self.url.startswith(("http://", "https://")):
            raise EngineError(f"{self.url!r} is no address: expected http:// or https://")
        request = urllib.request.Request(
            self.url.rstrip("/") + path, json.dumps(body).encode(), headers
        )
        try:
            with _opener().open(request, timeout=self.timeout) as response:
                yield response
        except urllib.error.HTTPError as error:
            with error:
                said = self._without_key(error.read(2000).decode("utf-8", "replace"))
            raise EngineError(
                f"{self.url}{path} for {body['model']!r}: HTTP {error.code}: {said}", error.code
            ) from None
        except (OSError, ValueError, HTTPException, BrokenStream) as error:
            raise EngineError(self._without_key(f"{self.url}{path}: {error!s}")) from None

    def _without_key(self, text: str) -> str:
        """Some servers say in an error which key they did not like."""
        return text.replace(self.key, "…") if self.key else text


def _choice(found: dict[str, Any]) -> dict[str, Any]:
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise EngineError("The engine's answer has no choices")
    return choices[0]
