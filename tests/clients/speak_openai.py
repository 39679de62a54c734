"""The openai SDK against a router: sync and async, whole and streamed. Runs with 2.x and with 3.x.

A program of its own, run by the interpreter that has the SDK: prints what it got as a JSON object.
Key and address come from OPENAI_API_KEY and OPENAI_BASE_URL, as any user's would.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai

HELLO: Any = [{"role": "user", "content": "my parcel is late"}]
TOOL: Any = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def sync() -> dict[str, Any]:
    with openai.OpenAI(max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="triage", messages=HELLO, tools=[TOOL], temperature=0.5
        )
        answer = raw.parse()
        stream = client.chat.completions.create(
            model="triage", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        with client.chat.completions.stream(model="triage", messages=HELLO) as events:
            final = events.get_final_completion()
        texts = client.completions.create(model="triage", prompt="late", max_tokens=3)
        response = client.responses.create(model="triage", input="my parcel is late")
        with client.responses.stream(model="triage", input="my parcel is late") as responding:
            streamed = responding.get_final_response()
        return {
            "model": answer.model,
            "text": answer.choices[0].message.content,
            "request_id": raw.headers["x-request-id"],
            "id": answer.id,
            "streamed": text_of(chunks),
            "usage": chunks[-1].usage.completion_tokens,
            "helper": final.choices[0].message.content,
            "completion": texts.choices[0].text,
            "response": response.output_text,
            "response_streamed": streamed.output_text,
            "models": sorted(model.id for model in client.models.list()),
            "one_model": client.models.retrieve("triage").id,
        }


async def concurrent() -> dict[str, Any]:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        answers = await asyncio.gather(
            *(client.chat.completions.create(model="triage", messages=HELLO) for _ in range(5))
        )
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        response = await client.responses.create(model="triage", input="late", stream=True)
        kinds = [event.type async for event in response]
        errors = {}
        for name, call in {
            "unknown": client.chat.completions.create(model="nobody", messages=HELLO),
            "empty": client.chat.completions.create(model="triage", messages=[]),
            "embeddings": client.embeddings.create(model="triage", input="x"),
        }.items():
            try:
                await call
            except openai.APIStatusError as error:
                errors[name] = [type(error).__name__, error.code, bool(error.request_id)]
        return {
            "texts": sorted({answer.choices[0].message.content for answer in answers}),
            "streamed": text_of(chunks),
            "kinds": [kinds[0], kinds[-1]],
            "errors": errors,
        }


def main() -> None:
    """Everything, printed."""
    got = {"version": openai.__version__, "sync": sync(), "async": asyncio.run(concurrent())}
    print(json.dumps(got))


if __name__ == "__main__":
    main()
