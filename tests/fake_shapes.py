"""Bodies as vLLM 0.32 writes them: names and order of fields, and what is null."""

from __future__ import annotations

import time
import uuid
from typing import Any

from aiohttp import web

Json = dict[str, Any]


def words(text: str) -> list[str]:
    """Split so that joining gives the text back: "a b" → ["a", " b"]."""
    head, *rest = text.split(" ")
    return [head, *(f" {word}" for word in rest)]


def usage(prompt: int, completion: int) -> Json:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }


def card(name: str, parent: str | None, max_model_len: int | None) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "vllm",
        "root": name,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [],
    }


def error(status: int, message: str, kind: str, param: str | None) -> web.Response:
    body = {"message": message, "type": kind, "param": param, "code": status}
    return web.json_response({"error": body}, status=status)


def missing(name: str) -> web.Response:
    return error(400, f"1 validation error:\n  missing {name}", "Bad Request", f"body.{name}")


def chat_choice(index: int, text: str, finish: str) -> Json:
    """A choice of a chat that is not streamed."""
    reply: Json = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    return {
        "index": index,
        "message": reply,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
        "token_ids": None,
    }


def text_choice(text: str, index: int = 0, *, finish_reason: str | None = None) -> Json:
    """A choice of a text completion, streamed or not."""
    return {
        "index": index,
        "text": text,
        "logprobs": None,
        "finish_reason": finish_reason,
        "stop_reason": None,
        "prompt_token_ids": None,
        "token_ids": None,
    }


def chat_logprobs(words: list[str], values: list[float]) -> Json:
    """Of a chat whose client asked for them, a token a word."""
    return {
        "content": [
            {"token": word, "logprob": value, "bytes": list(word.encode()), "top_logprobs": []}
            for word, value in zip(words, values, strict=True)
        ]
    }


def prompt_logprobs(ids: list[int], values: list[float]) -> list[Json | None]:
    """One entry a token, by its id; the first token has none."""
    return [
        None,
        *(
            {str(token): {"logprob": value, "rank": 1, "decoded_token": str(token)}}
            for token, value in zip(ids[1:], values, strict=True)
        ),
    ]


def embeddings(model: str, count: int, tokens: int) -> Json:
    """What an engine that embeds answers."""
    data = [{"index": n, "object": "embedding", "embedding": [0.5, -0.25]} for n in range(count)]
    return {
        "id": f"embd-{uuid.uuid4().hex[:16]}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": data,
        "usage": usage(tokens, 0) | {"prompt_tokens_details": None},
    }
