"""LangChain's ChatOpenAI against a router: prints what it got as one JSON object."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
from langchain_openai import ChatOpenAI

QUESTION = "my parcel is late"


async def concurrent(chat: ChatOpenAI) -> dict[str, Any]:
    answer = await chat.ainvoke(QUESTION)
    parts = [part async for part in chat.astream(QUESTION)]
    batch = await chat.abatch([QUESTION, "hello"])
    return {
        "text": answer.content,
        "streamed": "".join(str(part.content) for part in parts),
        "batch": [str(one.content) for one in batch],
    }


def main() -> None:
    """Everything, printed."""
    chat = ChatOpenAI(model="triage", max_retries=0, stream_usage=True)
    answer = chat.invoke([("system", "be brief"), ("user", QUESTION)])
    parts = list(chat.stream(QUESTION))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    responses = ChatOpenAI(model="triage", max_retries=0, use_responses_api=True)
    try:
        ChatOpenAI(model="nobody", max_retries=0).invoke(QUESTION)
        error = ""
    except openai.NotFoundError as caught:
        error = str(caught.code)
    got = {
        "text": answer.content,
        "model": answer.response_metadata["model_name"],
        "usage": answer.usage_metadata,
        "streamed": whole.content,
        "streamed_usage": whole.usage_metadata,
        "async": asyncio.run(concurrent(chat)),
        "responses": responses.invoke(QUESTION).text,
        "responses_streamed": "".join(str(part.text) for part in responses.stream(QUESTION)),
        "error": error,
    }
    print(json.dumps(got))


if __name__ == "__main__":
    main()
