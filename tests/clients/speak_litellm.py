"""LiteLLM as a client of a router: prints what it got as one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import litellm

HELLO = [{"role": "user", "content": "my parcel is late"}]
WHERE: Any = {"model": "openai/triage", "api_base": os.environ["OPENAI_BASE_URL"]}


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def concurrent() -> dict[str, Any]:
    answer = await litellm.acompletion(messages=HELLO, **WHERE)
    stream = await litellm.acompletion(messages=HELLO, stream=True, **WHERE)
    return {
        "text": answer.choices[0].message.content,
        "streamed": text_of([chunk async for chunk in stream]),
    }


def main() -> None:
    """Everything, printed."""
    answer = litellm.completion(messages=HELLO, **WHERE)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(messages=HELLO, **options, **WHERE))
    try:
        litellm.completion(messages=HELLO, **{**WHERE, "model": "openai/nobody"})
        error = ""
    except litellm.NotFoundError as caught:
        error = str(caught.status_code)
    got = {
        "text": answer.choices[0].message.content,
        "model": answer.model,
        "usage": answer.usage.completion_tokens,
        "streamed": text_of(chunks),
        "streamed_usage": chunks[-1].usage.completion_tokens,
        "async": asyncio.run(concurrent()),
        "error": error,
    }
    print(json.dumps(got))


if __name__ == "__main__":
    main()
