"""Which fields of a body reach an engine: every one of vLLM's is decided on, and held to it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import fields
from router.body import Request, for_engine, parse
from router.errors import InvalidRequest
from router.kinds import CHAT, EMBEDDINGS, KINDS, RESPONSES, TEXT, Kind
from router.settings import RouterSettings

SETTINGS = RouterSettings()
MESSAGES = [{"role": "user", "content": "hi"}]
PROMPTS: dict[str, Any] = {"messages": MESSAGES, "prompt": "hi", "input": "hi"}


def read(kind: Kind = CHAT, raw: bytes | None = None, **body: Any) -> Request:
    body = {kind.prompt_field: PROMPTS[kind.prompt_field], **body}
    return parse(json.dumps(body).encode() if raw is None else raw, kind, SETTINGS)


def sent(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(for_engine(request, "triage@0123456789ab", "salt"))
    return body


def refusal(kind: Kind = CHAT, raw: bytes | None = None, **body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(kind, raw, **body)
    return caught.value


VLLMS = """
import json, typing
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest

models = {
    "/v1/chat/completions": [ChatCompletionRequest],
    "/v1/completions": [CompletionRequest],
    "/v1/responses": [ResponsesRequest],
    "/v1/embeddings": typing.get_args(typing.get_args(EmbeddingRequest)[0]),
}
print(json.dumps({path: sorted(set().union(*(m.model_fields for m in every)))
                  for path, every in models.items()}))
"""
"""The fields of vLLM's own request models, printed by a process of its own: importing vLLM changes
more of a process than a test should."""


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    done = subprocess.run([sys.executable, "-c", VLLMS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    fields: dict[str, list[str]] = json.loads(found)
    return fields


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_every_field_of_vllms_is_decided_on(kind: Kind, theirs: dict[str, list[str]]) -> None:
    known = set(theirs[kind.path])
    assert len(known) > 15
    undecided = known - kind.passed - fields.STRIPPED.keys() - fields.REFUSED.keys()
    assert not undecided, "decide in router/fields.py whether these may reach an engine"
    gone = kind.passed - known
    assert not gone, "vLLM has these no more"


def test_what_steers_the_engine_is_in_no_list_of_what_passes() -> None:
    for kind in KINDS:
        assert kind.passed.isdisjoint(fields.STRIPPED.keys() | fields.REFUSED.keys())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_what_passes_arrives_as_it_was_sent(kind: Kind) -> None:
    apart = {"stream", "stream_options", "n", "model", "encoding_format"}
    odd = {name: 1 for name in kind.passed - apart}
    request = read(kind, **{**odd, kind.prompt_field: PROMPTS[kind.prompt_field]})
    body = sent(request)
    assert {name for name in odd if name != kind.prompt_field} <= body.keys()
    assert body["model"] == "triage@0123456789ab" and body["cache_salt"] == "salt"
    assert body.get("store") is (False if kind is RESPONSES else None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_what_steers_the_engine_and_what_nobody_knows_is_dropped(kind: Kind) -> None:
    steering = {name: "x" for name in fields.STRIPPED} | {"of_tomorrow": 1, "best_of": 100}
    body = sent(read(kind, **steering))
    assert body.keys() <= kind.passed | {"cache_salt", "store"}
    assert body["cache_salt"] == "salt" and body.get("store") is not True


@pytest.mark.parametrize("name", fields.REFUSED)
def test_what_would_change_the_answer_is_refused_and_its_absence_is_not(name: str) -> None:
    for kind in KINDS:
        refused = refusal(kind, **{name: "x"})
        assert (refused.param, refused.code) == (name, "unsupported_parameter")
        for nothing in (None, False):
            assert name not in sent(read(kind, **{name: nothing}))


@pytest.mark.parametrize(
    ("options", "shown", "sent_options"),
    [
        ({}, False, {"include_usage": True}),
        ({"stream_options": None}, False, {"include_usage": True}),
        ({"stream_options": {}}, False, {"include_usage": True}),
        ({"stream_options": {"include_usage": None}}, False, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, False, {"include_usage": True}),
        (
            {"stream_options": {"include_usage": False, "continuous_usage_stats": True}},
            False,
            {"include_usage": True},
        ),
        (
            {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
            True,
            {"include_usage": True, "continuous_usage_stats": True},
        ),
        ({"stream_options": {"include_obfuscation": False}}, False, None),
    ],
)
def test_usage_is_always_asked_for_and_shown_to_those_who_did(
    options: dict[str, Any], shown: bool, sent_options: dict[str, Any] | None
) -> None:
    for kind in (CHAT, TEXT):
        request = read(kind, stream=True, **options)
        assert request.wants_usage is shown
        expected = sent_options or options["stream_options"] | {"include_usage": True}
        assert sent(request)["stream_options"] == expected
        assert "stream_options" not in sent(read(kind, stream=False))


def test_one_request_can_not_take_an_engine_for_itself() -> None:
    assert refusal(n=65).code == "too_many_choices"
    assert read(n=64) and read(n=None)
    prompts = ["x"] * 33
    assert refusal(TEXT, prompt=prompts, n=2).param == "prompt"
    assert refusal(TEXT, prompt=[[1, 2]] * 65).param == "prompt"
    assert read(TEXT, prompt=prompts) and read(TEXT, prompt=list(range(5000)))
    assert refusal(n="many").code == "invalid_type"


def test_fields_that_are_no_prompt_have_a_bound() -> None:
    long = "x" * 70_000
    for name, value in {
        "logit_bias": {str(n): 1 for n in range(20_000)},
        "stop": [long],
        "structured_outputs": {"regex": long},
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"title": long}}},
        "bad_words": [long],
        "user": long,
        "of_tomorrow": long,
    }.items():
        refused = refusal(**{name: value})
        assert (refused.param, refused.code) == (name, "field_too_long")
    assert read(messages=[{"role": "user", "content": long}], tools=[{"description": long}])
    assert refusal(raw=b'{"messages":[{}],"%s":1,"y":"%s"}' % (b"k" * 70_000, b"y" * 70_000))


def test_integers_that_would_break_the_engine_are_refused() -> None:
    for name in ("top_k", "stream_interval"):
        assert refusal(**{name: 10**30}).code == "invalid_value"
        assert read(**{name: 5})
    refused = refusal(repetition_detection={"max_pattern_size": 10**19, "min_count": 2})
    assert refused.param == "repetition_detection"


def test_of_a_name_given_twice_the_engine_gets_what_the_router_chose_by() -> None:
    raw = b'{"messages":[{}],"model":"a","\\u006dodel":"b","cache_salt":"x","cache_\\u0073alt":"y"}'
    request = read(raw=raw)
    assert request.model == "b"
    body = for_engine(request, "triage@0123456789ab", "salt")
    assert body.count(b'"model"') == 1 and body.count(b"salt") == 2
    assert json.loads(body) == {
        "messages": [{}],
        "model": "triage@0123456789ab",
        "cache_salt": "salt",
    }


@pytest.mark.parametrize("half", [r"\ud800", r"\udc00x", r"\uDBFF\uDBFF", r"a\ud83d"])
def test_half_characters_are_refused_wherever_they_are(half: str) -> None:
    for raw in (
        '{"messages":[{"content":"%s"}]}',
        '{"messages":[{}],"model":"%s"}',
        '{"messages":[{}],"%s":1}',
    ):
        refused = refusal(raw=(raw % half).encode())
        assert refused.code in ("invalid_json", "invalid_type"), raw


@given(text=st.text())
def test_whole_characters_arrive_however_they_are_written(text: str) -> None:
    for ascii_only in (True, False):
        body = {"messages": [{"role": "user", "content": text}], "user": text, "model": text}
        raw = json.dumps(body, ensure_ascii=ascii_only).encode()
        request = read(raw=raw)
        assert request.model == (text or None)
        arrived = sent(request)
        assert arrived["messages"] == body["messages"] and arrived["user"] == text


def test_embeddings_come_in_json_and_do_not_stream() -> None:
    for form in ("float", "base64", None):
        assert sent(read(EMBEDDINGS, encoding_format=form))["encoding_format"] == form
    for form in ("bytes", "bytes_only", 7):
        assert refusal(EMBEDDINGS, encoding_format=form).param == "encoding_format"
    assert refusal(EMBEDDINGS, stream=True).param == "stream"
    assert "stream" not in sent(read(EMBEDDINGS, stream=False))


def test_a_conversation_is_found_in_each_shape() -> None:
    assert json.loads(read(CHAT).messages) == MESSAGES
    assert json.loads(read(RESPONSES, input="hi").messages) == MESSAGES
    assert json.loads(read(RESPONSES, input=MESSAGES).messages) == MESSAGES
    assert read(TEXT).messages == b"" and read(EMBEDDINGS).messages == b""
