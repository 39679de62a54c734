"""The stream relay: whatever the cuts, the client gets the same events."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answer import Names, ServedByAnother
from router.responses import Relay as ResponseRelay
from router.sse import Relay, StreamBroken
from tests.fake_streams import ResponseEvents

NAMES = Names(served="triage@0123456789ab", asked="triage", id="chatcmpl-ours")
DONE = b"data: [DONE]\n\n"


def chunk(choices: Any, *, model: str = NAMES.served, spaced: bool = False, **more: Any) -> bytes:
    body = {"id": "chatcmpl-theirs", "object": "chat.completion.chunk", "created": 7}
    body |= {"model": model, "choices": choices, **more}
    text = json.dumps(body, ensure_ascii=False, separators=None if spaced else (",", ":"))
    return f"data: {text}\n\n".encode()


def said(text: str, finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}]


def expected(events: bytes) -> list[Any]:
    """What a client reads of whole events: their data, by the standard."""
    read: list[Any] = []
    for event in events.split(b"\n\n"):
        lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
        data = b"\n".join(lines).strip()
        if lines:
            read.append("done" if data == b"[DONE]" else json.loads(data))
    return read


def dressed(event: bytes, how: int) -> bytes:
    """The same event in another of the forms that the standard has for it."""
    body = event.removeprefix(b"data: ").removesuffix(b"\n\n")
    return [
        event,
        b"data:" + body + b"\n\n",
        b"event: message\ndata: " + body + b"\n\n",
        b": a comment\nid: 7\ndata: " + body + b"\nretry: 10\n\n",
        b"\n\ndata: " + body + b"\n\n\n",
        b"data: " + body.replace(b',"choices"', b',\ndata: "choices"', 1) + b"\n\n",
        b": ping\n\n" + event,
    ][how]


def varied(kind: int, text: str, index: int) -> list[dict[str, Any]]:
    """Choices of a chunk: text, a tool call's piece, logprobs, reasoning, of one of several."""
    deltas: list[dict[str, Any]] = [
        {"content": text},
        {"tool_calls": [{"index": 0, "function": {"arguments": text}}]},
        {"reasoning": text},
        {"role": "assistant", "content": ""},
    ]
    found = {"content": [{"token": text, "logprob": -0.5, "bytes": [1], "top_logprobs": []}]}
    choice = {"index": index, "delta": deltas[kind % 4], "finish_reason": None}
    return [{**choice, "logprobs": found if kind > 3 else None}]


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(raw)) for place in places), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [
                '"model":"triage@0123456789ab"',
                'data: {"id":"chatcmpl-theirs",',
                "\n\ndata: [DONE]\n\n",
                '"usage":{}',
                '"error":1',
                "\r\n\r\n",
                '"finish_reason":"stop"',
                "ä💥\u2028",
            ]
        ),
    ),
    max_size=8,
)


@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 7), st.text(max_size=8), st.integers(0, 2), st.integers(0, 6)),
        max_size=8,
    ),
    places=st.lists(st.integers(0, 4000), max_size=30),
    ends=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    bom=st.booleans(),
)
def test_any_form_of_an_event_says_the_same(
    pieces: list[tuple[int, str, int, int]], places: list[int], ends: bytes, bom: bool
) -> None:
    plain = [chunk(varied(kind, text, index)) for kind, text, index, _ in pieces]
    finish = chunk(said("", "stop"))
    raw = b"".join(dressed(event, piece[3]) for event, piece in zip(plain, pieces, strict=True))
    raw = b"\xef\xbb\xbf" * bom + (raw + finish + DONE).replace(b"\n", ends)
    relay = Relay(NAMES, False)
    out = b"".join(relay.feed(part) for part in cut(raw, places) if part)
    assert relay.done and relay.broken is None
    wanted = expected(b"".join([*plain, finish, DONE]))
    for event in wanted[:-1]:
        event["model"], event["id"] = NAMES.asked, NAMES.id
    assert expected(out) == wanted
    spoken = sum(kind % 4 != 3 for kind, *_ in pieces)
    assert relay.outcome.completion_tokens >= spoken + 1 and not relay.outcome.told


def test_a_long_event_in_many_pieces_comes_out_whole() -> None:
    long = chunk(said("x" * 4_000_000))
    relay = Relay(NAMES, False)
    size = 4096
    out = [relay.feed(long[at : at + size]) for at in range(0, len(long), size)]
    assert out[:-1] == [b""] * (len(out) - 1)
    assert len(out[-1]) > 4_000_000


def test_usage_in_a_chunk_that_says_more_is_hidden_from_those_who_did_not_ask() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    relay = Relay(NAMES, False)
    (got,) = expected(relay.feed(chunk(said("a"), usage=usage)))
    assert "usage" not in got and got["choices"] and got["model"] == NAMES.asked
    assert (relay.outcome.prompt_tokens, relay.outcome.told) == (5, True)
    relay = Relay(NAMES, True)
    (got,) = expected(relay.feed(chunk(said("a"), usage=usage)))
    assert got["usage"] == usage


def test_an_engine_that_gives_up_did_not_finish() -> None:
    relay = Relay(NAMES, False)
    out = relay.feed(chunk(said("a")) + chunk(said("", "abort")) + DONE)
    assert len(expected(out)) == 1
    assert relay.broken is not None and not relay.done


def test_the_tokens_of_a_broken_stream_are_those_relayed() -> None:
    relay = Relay(NAMES, False, 4)
    relay.feed(chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}}]))
    relay.feed(chunk(said("a")) + chunk(said("b")))
    relay.feed(chunk(said("c")))
    relay.outcome.settle(70)
    (last,) = expected(relay.last(StreamBroken("gone")))
    counted = {"prompt_tokens": 70, "completion_tokens": 12, "total_tokens": 82, "estimated": True}
    assert last["usage"] == last["error"]["usage"] == counted
    assert last["error"]["code"] == "stream_interrupted"


@given(
    texts=st.lists(st.text(max_size=10), max_size=6),
    places=st.lists(st.integers(0, 6000), max_size=30),
    ends=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_any_cut_of_a_response_gives_the_same_events(
    texts: list[str], places: list[int], ends: bytes
) -> None:
    events = ResponseEvents({}, NAMES.served, texts, "stop", 5)
    plain = b"".join([*events.first(), *events.steps(), *events.last()])
    relay = ResponseRelay(NAMES, False)
    parts = cut(plain.replace(b"\n", ends), places)
    out = b"".join(relay.feed(part) for part in parts if part)
    assert relay.done and relay.broken is None
    wanted = expected(plain)
    for event in wanted:
        if "response" in event:
            event["response"] |= {"model": NAMES.asked, "id": NAMES.id}
    assert expected(out) == wanted
    names = [line[7:] for line in out.decode().split("\n") if line.startswith("event: ")]
    assert names == [event["type"] for event in wanted]
    assert relay.outcome.told and relay.outcome.prompt_tokens == 5


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"type":"response.output_text.delta","delta":"x","sequence_number":0}\n\n',
        b'data: {"type":"response.created","response":{"model":"switchyard-tiny"}}\n\n',
        b'data: {"type":"response.created","response":7}\n\n',
        b'data: {"error":{"message":"boom"}}\n\n',
        b'event: error\ndata: {"type":"error","message":"boom"}\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_what_does_not_begin_as_a_response_is_none(raw: bytes) -> None:
    relay = ResponseRelay(NAMES, False)
    assert relay.feed(raw) == b""
    assert relay.broken is not None and not relay.done


@given(
    texts=TEXTS,
    places=st.lists(st.integers(0, 3000), max_size=30),
    show=st.booleans(),
    spaced=st.booleans(),
    crlf=st.booleans(),
    comments=st.booleans(),
)
def test_any_cut_gives_the_same_events(
    texts: list[str],
    places: list[int],
    show: bool,
    spaced: bool,
    crlf: bool,
    comments: bool,
) -> None:
    events = [chunk(said(text), spaced=spaced) for text in texts]
    events.append(chunk(said("", "stop"), spaced=spaced))
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    events.append(chunk([], usage=usage, spaced=spaced))
    raw = (b": ping\n\n" if comments else b"").join([*events, DONE])
    if crlf:
        raw = raw.replace(b"\n", b"\r\n")
    relay = Relay(NAMES, show)
    out = [relay.feed(part) for part in cut(raw, places) if part]
    assert relay.done
    assert all(block == b"" or block.endswith(b"\n\n") for block in out)
    got = expected(b"".join(out))
    wanted = expected(b"".join([*events[: None if show else -1], DONE]))
    for event in wanted[:-1]:
        event["model"], event["id"] = NAMES.asked, NAMES.id
    assert got == wanted
    outcome = relay.outcome
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (5, 9)
    assert outcome.finish_reason == "stop"


def test_bytes_behind_the_names_are_not_written_anew() -> None:
    relay = Relay(NAMES, False)
    odd = b'"choices":[{"index":0,"delta":{"content":"\\u00e4 \\/ 1.00"},"x":1.50}]}\n\n'
    head = chunk(said("x")).split(b'"choices"')[0]
    relay.feed(chunk(said("first")))
    assert relay.feed(head + odd).endswith(odd)


@given(places=st.lists(st.integers(0, 600), max_size=5))
def test_a_chunk_of_another_model_is_an_error_wherever_it_comes(places: list[int]) -> None:
    raw = chunk(said("a")) + chunk(said("b"), model="switchyard-tiny") + DONE
    relay = Relay(NAMES, False)
    out = b"".join(relay.feed(part) for part in cut(raw, places))
    assert isinstance(relay.broken, ServedByAnother)
    assert not relay.done
    (good,) = expected(out)
    assert good["choices"][0]["delta"]["content"] == "a", "what came before it was good"


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"error":{"message":"boom","code":500}}\n\n',
        b"data: not json\n\n",
        b"data: [1]\n\n",
        b'data: {"model":7}\n\n',
        b"data: \xff\n\n",
        b'data: {"model":"triage@0123456789ab","choices":7}\n\n',
    ],
)
def test_what_is_not_a_chunk_is_an_error(raw: bytes) -> None:
    relay = Relay(NAMES, False)
    relay.feed(chunk(said("a")))
    assert relay.feed(raw) == b""
    assert relay.broken is not None and not relay.done
    (last,) = expected(relay.last(relay.broken))
    assert last["error"]["code"] in ("engine_error", "stream_interrupted")
    assert last["usage"]["completion_tokens"] == 1
    assert relay.feed(DONE) == b"", "nothing follows a break"


def test_an_end_without_a_beginning_is_none() -> None:
    relay = Relay(NAMES, False)
    assert relay.feed(b": ping\n\n" + DONE) == b": ping\n\n"
    assert isinstance(relay.broken, StreamBroken) and not relay.done


def test_nothing_follows_done() -> None:
    relay = Relay(NAMES, False)
    relay.feed(chunk(said("a")))
    assert relay.feed(DONE + chunk(said("b"))) == DONE
    assert relay.feed(chunk(said("c"))) == b""


def test_an_event_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.sse.LONGEST_EVENT", 1000)
    relay = Relay(NAMES, False)
    for _ in range(11):
        relay.feed(b"x" * 100)
    assert isinstance(relay.broken, StreamBroken)
