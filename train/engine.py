"""A small client for any OpenAI-compatible URL: greedy chats, log-probabilities of texts.

Knows nothing about rows, scores or the registry. Blocks; several requests at a time by threads.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from train.rows import Message

_BUSY = (429, 503)


class EngineError(Exception):
    """The engine refused, was not reached, or answered for another model. `status` is HTTP's, 0
    where there was no answer. The message never holds the key."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """One answer, and what it took: whole milliseconds from request to last byte, and tokens."""

    text: str
    latency_ms: float
    prompt_tokens: int
    completion_tokens: int


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
            }
            found, milliseconds = self._post("/v1/chat/completions", body)
            told()
            usage = found.get("usage") or {}
            return Answer(
                _choice(found)["message"].get("content") or "",
                round(milliseconds, 2),
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
            )

        return self._each(one, conversations)

    def logprobs(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Of each token id but the first, in each text: the natural logarithm of its probability
        after those before it. vLLM's own (`prompt_logprobs`). Raises EngineError."""

        def one(ids: Sequence[int]) -> list[float]:
            body = {"model": model, "prompt": list(ids), "max_tokens": 1, "prompt_logprobs": 0}
            found, _ = self._post("/v1/completions", body)
            given = _choice(found).get("prompt_logprobs")
            if not isinstance(given, list) or len(given) != len(ids):
                raise EngineError(f"{self.url} gives no prompt_logprobs: expected vLLM")
            pairs = zip(ids[1:], given[1:], strict=True)
            return [float(at[str(token)]["logprob"]) for token, at in pairs]

        return self._each(one, texts)

    def tokenize(self, model: str, messages: Sequence[Message], *, prompt: bool) -> list[int]:
        """The engine's own token ids of a conversation; `prompt`: an answer is to follow."""
        body = {"model": model, "messages": list(messages), "add_generation_prompt": prompt}
        found, _ = self._post("/tokenize", body, names_model=False)
        return [int(token) for token in found["tokens"]]

    def count(self, model: str, text: str) -> int:
        """How many tokens a text has. Raises EngineError."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        found, _ = self._post("/tokenize", body, names_model=False)
        return len(found["tokens"])

    def context(self, model: str) -> int:
        """How many tokens a prompt and its answer may have together. Raises EngineError."""
        body = {"model": model, "prompt": "a", "add_special_tokens": False}
        found, _ = self._post("/tokenize", body, names_model=False)
        return int(found["max_model_len"])

    def _each(self, one: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(max(1, self.concurrency)) as pool:
            futures = [pool.submit(one, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _post(
        self, path: str, body: dict[str, Any], *, names_model: bool = True
    ) -> tuple[dict[str, Any], float]:
        """(the answer, milliseconds of the try that succeeded)."""
        for attempt in Retrying(
            retry=retry_if_exception(lambda e: isinstance(e, EngineError) and e.status in _BUSY),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(0.5, max=self.longest_wait),
            reraise=True,
        ):
            with attempt:
                started = time.perf_counter()
                found = self._once(path, body)
                milliseconds = 1000 * (time.perf_counter() - started)
        if names_model and found.get("model") != body["model"]:
            raise EngineError(
                f"{self.url} was asked for {body['model']!r} and answered as {found.get('model')!r}"
            )
        return found, milliseconds

    def _once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        if not self.url.startswith(("http://", "https://")):
            raise EngineError(f"{self.url!r} is no address: expected http:// or https://")
        request = urllib.request.Request(
            self.url.rstrip("/") + path, json.dumps(body).encode(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                found = json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(2000).decode("utf-8", "replace")
            raise EngineError(
                f"{self.url}{path} for {body['model']!r}: HTTP {error.code}: {said}", error.code
            ) from None
        except (OSError, ValueError) as error:
            raise EngineError(f"{self.url}{path}: {error}") from error
        if not isinstance(found, dict):
            raise EngineError(f"{self.url}{path}: expected a JSON object")
        return found


def _choice(found: dict[str, Any]) -> dict[str, Any]:
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise EngineError("The engine's answer has no choices")
    return choices[0]
