"""What a tenant has: the openai SDK, a base_url and a key. Nothing else of ours is used here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Message = dict[str, str]


@dataclass(frozen=True)
class Reply:
    """One answer, or why there is none. Times: `began` and `ended` are seconds since the epoch,
    `seconds` is what the client waited. `status` 0 means that no HTTP answer came at all."""

    tenant: str
    began: float
    ended: float
    seconds: float
    status: int
    text: str = ""
    completion_id: str = ""
    version: str = ""
    fallback: str = ""
    completion_tokens: int = 0
    error: str = ""
    error_shaped: bool = True
    """Whether an error had OpenAI's body: message, type, param and code."""
    retry_after: float | None = None

    @property
    def good(self) -> bool:
        """Answered."""
        return self.status == 200


def connect(url: str, key: str, *, retries: int = 0, timeout: float = 60.0) -> AsyncOpenAI:
    """A client as a tenant would make it; without retries, so that every failure is seen."""
    from openai import AsyncOpenAI

    return AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, timeout=timeout)


async def ask(
    client: AsyncOpenAI,
    tenant: str,
    model: str,
    messages: Sequence[Message],
    *,
    max_tokens: int = 16,
) -> Reply:
    """One chat completion, greedy. Errors become replies: the caller decides what they mean."""
    from openai import APIConnectionError, APIStatusError

    began, clock = time.time(), time.perf_counter()
    common: dict[str, Any] = {"tenant": tenant, "began": began}
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model=model,
            messages=messages,  # type: ignore[arg-type]
            temperature=0.0,
            max_tokens=max_tokens,
        )
        completion = raw.parse()
    except APIStatusError as error:
        return Reply(
            **common,
            **_times(clock),
            status=error.status_code,
            version=error.response.headers.get("x-switchyard-version", ""),
            error=str(error.message),
            error_shaped=_shaped(error.response),
            retry_after=_number(error.response.headers.get("retry-after")),
        )
    except APIConnectionError as error:
        return Reply(**common, **_times(clock), status=0, error=repr(error), error_shaped=False)
    usage = completion.usage
    return Reply(
        **common,
        **_times(clock),
        status=200,
        text=completion.choices[0].message.content or "",
        completion_id=completion.id,
        version=raw.headers.get("x-switchyard-version", ""),
        fallback=raw.headers.get("x-switchyard-fallback", ""),
        completion_tokens=usage.completion_tokens if usage else 0,
    )


async def ask_all(
    client: AsyncOpenAI,
    tenant: str,
    model: str,
    prompts: Sequence[Sequence[Message]],
    *,
    max_tokens: int,
    clients: int,
) -> list[Reply]:
    """Every prompt once, with so many requests at a time; in the order of the prompts."""
    gate = asyncio.Semaphore(clients)

    async def one(messages: Sequence[Message]) -> Reply:
        async with gate:
            return await ask(client, tenant, model, messages, max_tokens=max_tokens)

    return list(await asyncio.gather(*map(one, prompts)))


def _times(clock: float) -> dict[str, Any]:
    return {"ended": time.time(), "seconds": time.perf_counter() - clock}


def _shaped(response: Any) -> bool:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(error, dict) and {"message", "type", "param", "code"} <= error.keys()


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
