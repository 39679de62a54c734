"""The same cases against the fake engine and against the real vLLM: the fake has to be right.

Names of fields, status codes, error bodies and the order of a stream; not the words of an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from monitoring.panels import VLLM
from registry.names import served_name
from tests.fake_engine import FakeEngine
from tests.serve.making import BASE, KEY
from tests.train.making import row
from train.engine import Engine
from train.judge import Judge, opinion

MESSAGES = [{"role": "user", "content": "the invoice was wrong again"}]


@dataclass(frozen=True)
class Target:
    """Either of them."""

    url: str
    base: str
    adapter: str
    session: aiohttp.ClientSession

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        async with self.session.post(self.url + path, data=data, headers=headers) as response:
            return response.status, await response.json()

    async def chat(self, **changes: Any) -> tuple[int, Any]:
        body = {"model": self.base, "messages": MESSAGES, "max_tokens": 4, **changes}
        return await self.post("/v1/chat/completions", body)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.slow)])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        if request.param == "real":
            real = request.getfixturevalue("real")
            adapter = served_name("triage", real.registry.store.publish(real.good))
            yield Target(real.engine.url, real.base.name, adapter, session)
        else:
            adapter = "triage@0123456789ab"
            async with FakeEngine(base=BASE, adapters={adapter}, api_key=KEY) as fake:
                yield Target(fake.url, BASE, adapter, session)


async def test_health_needs_no_key(target: Target) -> None:
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{target.url}/health") as answer:
        assert (answer.status, await answer.text()) == (200, "")


async def test_without_the_key_nothing_is_served(target: Target) -> None:
    async with aiohttp.ClientSession() as stranger:
        for path in ("/v1/models", "/v1/chat/completions"):
            async with stranger.get(target.url + path) as answer:
                assert (answer.status, await answer.json()) == (401, {"error": "Unauthorized"})


async def test_a_chat_names_the_model_that_answered(target: Target) -> None:
    for model in (target.base, target.adapter):
        status, body = await target.chat(model=model)

        assert status == 200
        assert body["model"] == model
        assert body["object"] == "chat.completion"
        assert body["id"].startswith("chatcmpl-")
        (choice,) = body["choices"]
        assert choice["message"]["role"] == "assistant"
        assert isinstance(choice["message"]["content"], str)
        assert choice["finish_reason"] in ("stop", "length")


async def test_the_usage_adds_up(target: Target) -> None:
    usage = (await target.chat())[1]["usage"]

    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_an_empty_model_is_the_base(target: Target) -> None:
    for changes in ({"model": ""}, {"model": None}):
        status, body = await target.chat(**changes)

        assert (status, body["model"]) == (200, target.base)


async def test_an_unknown_model_is_a_404(target: Target) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize"):
        asked = {"model": "nobody", "messages": MESSAGES, "prompt": "x", "max_tokens": 1}
        if path == "/v1/responses":
            asked = {"model": "nobody", "input": "x"}
        status, body = await target.post(path, asked)

        assert status == 404
        assert body == {
            "error": {
                "message": f"The model `nobody` does not exist. Valid aliases: {target.base}.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        }


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"{", None), ({"max_tokens": 3}, "body.messages"), ({"messages": "x"}, "body.messages")],
)
async def test_a_bad_body_is_a_400(target: Target, body: Any, param: str | None) -> None:
    status, answer = await target.post("/v1/chat/completions", body)

    assert status == 400
    assert answer["error"].keys() == {"message", "type", "param", "code"}
    assert (answer["error"]["type"], answer["error"]["code"]) == ("Bad Request", 400)
    assert param is None or answer["error"]["param"] == param


async def test_more_tokens_than_the_model_has_room_for_are_a_400(target: Target) -> None:
    status, answer = await target.chat(max_tokens=5000)

    assert status == 400
    assert answer["error"]["type"] == "BadRequestError"
    assert answer["error"]["param"] == "max_tokens"


async def test_a_stream_is_role_then_text_then_usage_then_done(target: Target) -> None:
    body = {
        "model": target.adapter,
        "messages": MESSAGES,
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with target.session.post(f"{target.url}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = await answer.text()
    *events, done, end = text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]

    assert (done, end) == ("data: [DONE]", "")
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {target.adapter}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-2])
    assert chunks[-2]["choices"][0]["finish_reason"] in ("stop", "length")
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0


async def test_an_exam_reads_text_tokens_and_times_off_a_stream(target: Target) -> None:
    client = Engine(target.url, KEY)
    (given,) = await asyncio.to_thread(client.answer, target.adapter, [MESSAGES], max_tokens=4)
    _, whole = await target.chat(model=target.adapter, temperature=0)

    assert given.text == whole["choices"][0]["message"]["content"]
    assert given.prompt_tokens == whole["usage"]["prompt_tokens"]
    assert given.completion_tokens == whole["usage"]["completion_tokens"]
    assert given.ttft_ms is not None and 0 < given.ttft_ms <= given.latency_ms
    assert (given.inter_token_ms is None) == (given.completion_tokens < 2)


async def test_the_replies_of_a_judge_that_can_not_judge_are_counted(target: Target) -> None:
    """The base has random weights; the fake repeats the question."""
    questions = [row(f"the invoice {n} was wrong", "refund", n + 1) for n in range(3)]
    said = {"base_zero_shot": ["card"] * 3, "adapter": ["refund", "refund please", "card"]}
    values = {"base_zero_shot": [0.0] * 3, "adapter": [1.0, 0.5, 0.0]}
    judge = Judge(target.url, target.base, key=KEY)
    found = await asyncio.to_thread(opinion, judge, questions, said, values)

    assert found.figures["error"] is None
    assert found.figures["answers"] == 5
    assert found.figures["unreadable"] + found.figures["agreement"]["n"] == 5
    read = [score for scores in found.scores.values() for score in scores if score is not None]
    assert all(0 <= score <= 1 for score in read)
    assert found.figures["unreadable"] > 0


async def test_a_stream_without_the_option_has_no_usage(target: Target) -> None:
    body = {"model": target.base, "messages": MESSAGES, "max_tokens": 2, "stream": True}
    async with target.session.post(f"{target.url}/v1/chat/completions", json=body) as answer:
        assert '"choices":[]' not in await answer.text()


async def events(target: Target, path: str, body: Any) -> list[tuple[str | None, Any]]:
    """A stream's events: (name, data)."""
    async with target.session.post(target.url + path, json=body) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = await answer.text()
    assert text.endswith("\n\n")
    read: list[tuple[str | None, Any]] = []
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = None, event
        if event.startswith("event: "):
            name, data = event.removeprefix("event: ").split("\n")
        data = data.removeprefix("data: ")
        read.append((name, data if data == "[DONE]" else json.loads(data)))
    return read


async def test_text_streams_as_chunks_then_usage_then_done(target: Target) -> None:
    body = {"model": target.adapter, "prompt": [3, 4, 5], "max_tokens": 3, "stream": True}
    body["stream_options"] = {"include_usage": True}
    *chunks, usage, done = [data for _, data in await events(target, "/v1/completions", body)]

    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert {chunk["model"] for chunk in chunks} == {target.adapter}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(isinstance(chunk["choices"][0]["text"], str) for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 3 + usage["usage"]["completion_tokens"]


async def test_several_choices_stream_by_their_index(target: Target) -> None:
    body = {"model": target.base, "messages": MESSAGES, "max_tokens": 2, "n": 2, "stream": True}
    body["temperature"] = 1.0
    *chunks, done = [data for _, data in await events(target, "/v1/chat/completions", body)]

    assert done == "[DONE]"
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1}
    assert [len(chunk["choices"]) for chunk in chunks] == [1] * len(chunks)


async def test_a_response_names_its_model_and_counts_its_tokens(target: Target) -> None:
    status, body = await target.post(
        "/v1/responses",
        {"model": target.adapter, "input": "the invoice", "max_output_tokens": 4, "store": False},
    )

    assert status == 200
    assert (body["object"], body["model"]) == ("response", target.adapter)
    assert body["id"].startswith("resp_")
    assert body["status"] in ("completed", "incomplete")
    assert body["output"][0]["type"] == "message"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_a_response_streams_as_named_events(target: Target) -> None:
    read = await events(
        target,
        "/v1/responses",
        {"model": target.adapter, "input": "the invoice", "max_output_tokens": 32, "stream": True},
    )

    names = [name for name, _ in read]
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(names[4:-4]) <= {"response.output_text.delta"}
    assert names[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [data["type"] for _, data in read] == names
    assert [data["sequence_number"] for _, data in read] == list(range(len(read)))
    nested = [data["response"] for _, data in read if "response" in data]
    assert [response["model"] for response in nested] == [target.adapter] * 3
    assert len({response["id"] for response in nested}) == 1
    assert [response["usage"] is None for response in nested] == [True, True, False]


async def test_an_engine_that_generates_has_no_embeddings(target: Target) -> None:
    status, body = await target.post("/v1/embeddings", {"model": target.base, "input": "x"})

    assert (status, body) == (404, {"detail": "Not Found"})


async def test_what_is_under_way_shows_in_the_metrics(target: Target) -> None:
    async with target.session.get(f"{target.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()

    for name in ("running", "waiting"):
        (line,) = [line for line in lines if line.startswith(f"vllm:num_requests_{name}{{")]
        assert f'model_name="{target.base}"' in line and line.endswith(" 0.0")


async def test_the_engine_has_every_series_that_dashboards_ask_it_for(target: Target) -> None:
    async with target.session.get(f"{target.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()

    assert {*VLLM} - {line.partition("{")[0] for line in lines} == set()


async def test_prompt_logprobs_are_by_token_with_none_for_the_first(target: Target) -> None:
    status, body = await target.post(
        "/v1/completions",
        {"model": target.adapter, "prompt": [3, 4, 5], "max_tokens": 1, "prompt_logprobs": 0},
    )

    assert status == 200
    assert (body["object"], body["model"]) == ("text_completion", target.adapter)
    first, *others = body["choices"][0]["prompt_logprobs"]
    assert first is None
    assert [[*entry] for entry in others] == [["4"], ["5"]]
    assert all(entry[token]["logprob"] <= 0 for entry in others for token in entry)


async def test_tokenize_gives_ids_and_their_count(target: Target) -> None:
    status, body = await target.post("/tokenize", {"messages": MESSAGES})

    assert status == 200
    assert body.keys() == {"count", "max_model_len", "tokens", "token_strs"}
    assert body["count"] == len(body["tokens"]) > 0


async def test_an_adapter_is_listed_once_it_was_used(target: Target) -> None:
    await target.chat(model=target.adapter)

    async with target.session.get(f"{target.url}/v1/models") as answer:
        listed = {card["id"]: card["parent"] for card in (await answer.json())["data"]}

    assert listed[target.base] is None
    assert listed[target.adapter] == target.base
