"""The stream relay: whatever the cuts, the client gets the same events."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answer import Names, ServedByAnother
from router.sse import Relay, StreamBroken

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
    """What a client reads of whole events."""
    read: list[Any] = []
    for event in events.split(b"\n\n"):
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                data = line[5:].strip()
                read.append("done" if data == b"[DONE]" else json.loads(data))
    return read


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
