"""A client of one vLLM: what the swap needs to ask it. Knows HTTP; nothing about the registry.

EngineFault
├── EngineUnreachable    no answer: not up, gone, or too slow. Try again later
├── AdapterUnavailable   the engine can't or won't serve that adapter
└── EngineError          any other refusal; `status` is HTTP's
"""

from __future__ import annotations

import time
from typing import Any, Self

import aiohttp

Messages = list[dict[str, Any]]


class EngineFault(Exception):
    """Base of what goes wrong between us and an engine."""


class EngineUnreachable(EngineFault):
    """No answer."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"engine {url} gave no answer: {why}")


class AdapterUnavailable(EngineFault):
    """The engine can't or won't serve the adapter; `reason` is the engine's own."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the engine does not serve {name}: {reason}")
        self.name = name
        self.reason = reason


class EngineError(EngineFault):
    """Any other refusal."""

    def __init__(self, url: str, status: int, message: str) -> None:
        super().__init__(f"engine {url} answered {status}: {message}")
        self.status = status

    @property
    def transient(self) -> bool:
        """Whether the same question may be answered later."""
        return self.status >= 500 or self.status == 429


class EngineClient:
    """Asks one engine at `url` (no path). Use as an async context manager, or `close()` it."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def healthy(self, timeout_s: float | None = None) -> bool:
        """Whether /health says 200 in time. Raises nothing."""
        try:
            async with self._open().get(
                f"{self.url}/health", timeout=_timeout(timeout_s or self._timeout_s)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def warm(self, name: str, *, timeout_s: float | None = None) -> float:
        """Make the engine fetch, load and use an adapter: milliseconds that took.

        Raises AdapterUnavailable, EngineUnreachable, EngineError.
        """
        started = time.perf_counter()
        body = {"model": name, "prompt": [0], "max_tokens": 1, "temperature": 0}
        await self._post("/v1/completions", body, timeout_s)
        return (time.perf_counter() - started) * 1000

    async def logprobs(self, name: str, token_ids: list[int], prompt_length: int) -> list[float]:
        """Teacher-forced natural-log probability of each token after the first `prompt_length`.

        Raises AdapterUnavailable, EngineUnreachable, EngineError; ValueError for a
        `prompt_length` that leaves nothing, or no context, to score.
        """
        if not 0 < prompt_length < len(token_ids):
            raise ValueError(f"prompt_length {prompt_length}: expected 1 to {len(token_ids) - 1}")
        body = {
            "model": name,
            "prompt": token_ids,
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
        }
        answer = await self._post("/v1/completions", body, None)
        try:
            scored = answer["choices"][0]["prompt_logprobs"][prompt_length:]
            tokens = token_ids[prompt_length:]
            return [
                float(entry[str(token)]["logprob"])
                for entry, token in zip(scored, tokens, strict=True)
            ]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineError(self.url, 200, f"prompt_logprobs not as expected: {error}") from None

    async def tokenize(self, messages: Messages) -> list[int]:
        """The engine's own token ids of a conversation plus the prompt for an answer.

        Raises EngineUnreachable, EngineError.
        """
        answer = await self._post("/tokenize", {"messages": messages}, None)
        return [int(token) for token in answer["tokens"]]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        return self._session

    async def _post(
        self, path: str, body: dict[str, Any], timeout_s: float | None
    ) -> dict[str, Any]:
        timeout = _timeout(timeout_s or self._timeout_s)
        try:
            async with self._open().post(self.url + path, json=body, timeout=timeout) as response:
                status = response.status
                try:
                    answer = await response.json(content_type=None)
                except ValueError:
                    answer = None
        except TimeoutError:
            raise EngineUnreachable(self.url, f"nothing within {timeout.total:g} s") from None
        except aiohttp.ClientError as error:
            raise EngineUnreachable(self.url, str(error) or type(error).__name__) from None
        name = body.get("model")
        if status != 200 or not isinstance(answer, dict):
            message = _message(answer)
            # vLLM: 404 where no resolver had it, 400 where it was found and could not be loaded.
            if name and (status == 404 or (status == 400 and f"LoRA adapter '{name}'" in message)):
                raise AdapterUnavailable(name, message)
            raise EngineError(self.url, status, message)
        if name and answer.get("model") != name:
            raise EngineError(self.url, status, f"asked {name}, was answered by {answer['model']}")
        return answer


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


def _message(answer: Any) -> str:
    if isinstance(answer, dict):
        error = answer.get("error")
        if isinstance(error, dict):
            return str(error.get("message"))
        if error:
            return str(error)
    return "no message"
