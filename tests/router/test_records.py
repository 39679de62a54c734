"""What is kept of an exchange, feedback on it, metrics, and the two ports."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import openai
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.client import LOOKED_AT, client
from monitoring.sketch import sketch
from registry.exchanges import Exchange
from router import said
from router.budget import Budget
from router.http import client_of
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO
from tests.router.test_errors import is_error

FEEDBACK = "/v1/feedback"


async def exchanges(router: Running, count: int) -> list[Exchange]:
    return await until(
        lambda: (rows := router.world.registry.exchanges.since(0)) and len(rows) >= count and rows,
        f"{count} exchanges to be written",
    )


async def test_an_exchange_is_kept_with_its_usage_and_only_opted_in_text(router: Running) -> None:
    for tenant, model in (("acme", "triage"), ("lex", "clauses")):
        async with router.client(tenant) as client:
            whole = await client.chat.completions.create(model=model, messages=HELLO)
            stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
    rows = await exchanges(router, 4)
    assert [row.id for row in rows][2:] == [whole.id, chunks[0].id]
    for row in rows:
        assert row.status == 200 and row.served == "adapter" and row.fallback == ""
        assert row.prompt_tokens > 0 and row.completion_tokens == 7
        assert row.finish_reason == "stop" and row.latency_ms > 0 and row.digest
        assert row.sketch == sketch(HELLO)
        assert row.engine_id == "engine-0"
        assert row.client == f"AsyncOpenAI/Python {openai.__version__}"
    acme, lex = rows[:2], rows[2:]
    assert [row.ttft_ms is not None for row in acme] == [False, True]
    for row in acme:
        assert row.messages == {"messages": HELLO}
        assert row.answer and row.answer.endswith("says: my parcel is late")
    assert all(row.messages is None and row.answer is None for row in lex)
    assert (lex[0].tenant, lex[0].alias, lex[0].adapter) == ("lex", "clauses", "clauses")


async def test_feedback_comes_back_as_a_correction(router: Running, world: World) -> None:
    async with router.client() as client:
        answer = await client.chat.completions.create(model="triage", messages=HELLO)
        kept = await client.post(
            "/feedback",
            body={"completion_id": answer.id, "rating": -1, "correction": "delivery"},
            cast_to=dict[str, Any],
        )
    assert kept["object"] == "feedback" and kept["completion_id"] == answer.id
    (row,) = world.registry.corrections.of("acme", "triage")
    assert (row.id, row.correction, row.rating) == (kept["id"], "delivery", -1)
    assert row.messages == {"messages": HELLO}


async def test_a_correction_without_its_prompt_is_told_to_be_of_no_use(router: Running) -> None:
    """`lex` keeps no text: nothing else would say that its corrections never count."""
    async with router.client("lex") as client:
        answer = await client.chat.completions.create(model="clauses", messages=HELLO)

        async def give(**said: Any) -> dict[str, Any]:
            body = {"completion_id": answer.id, **said}
            return await client.post("/feedback", body=body, cast_to=dict[str, Any])

        rated, corrected = await give(rating=-1), await give(correction="void")
        sent = await give(correction="void", messages=HELLO)
    assert (rated["usable"], rated["unusable_because"]) == (None, None)
    assert corrected["usable"] is False and "'messages'" in corrected["unusable_because"]
    assert (sent["usable"], sent["unusable_because"]) == (True, None)


async def test_feedback_can_be_given_as_soon_as_a_streams_end_was_seen(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, record_interval_s=60.0) as router, router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        body = f'{{"completion_id":"{chunks[0].id}","label":"wrong"}}'.encode()
        status, answer, _ = await router.post(body, FEEDBACK)
        assert status == 200 and answer["label"] == "wrong"


async def test_feedback_that_makes_no_sense_is_refused(router: Running, world: World) -> None:
    async with router.client("lex") as client:
        theirs = await client.chat.completions.create(model="clauses", messages=HELLO)
    cases: list[tuple[str, int, str | None]] = [
        ('{"completion_id":"chatcmpl-none","rating":1}', 404, "completion_id"),
        (f'{{"completion_id":"{theirs.id}","rating":1}}', 404, "completion_id"),
        (f'{{"completion_id":"{theirs.id}"}}', 400, "rating"),
        ('{"rating":1}', 400, "completion_id"),
        ('{"completion_id":"x","rating":7}', 400, "rating"),
        ('{"completion_id":"x","correction":[]}', 400, "correction"),
        ('{"completion_id":"x","rating":1,"messages":"hi"}', 400, "messages"),
        ("nonsense", 400, None),
        ("[]", 400, None),
    ]
    for body, expected, param in cases:
        status, answer, _ = await router.post(body.encode(), FEEDBACK)
        assert status == expected, body
        assert is_error(answer) and answer["error"]["param"] == param, (body, answer)


async def test_a_full_queue_drops_and_counts(world: World, engine: FakeEngine) -> None:
    async with running(world, record_queue=2, record_interval_s=60.0) as router:
        async with router.client() as client:
            for _ in range(5):
                await client.chat.completions.create(model="triage", messages=HELLO)
        assert router.dropped("queue") == 3
        await router.server.app.state.recorder.flush()
        assert len(world.registry.exchanges.since(0)) == 2


async def test_more_records_than_the_budget_are_dropped_and_counted(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, records_per_second=1.0, sketches_per_second=1.0) as router:
        async with router.client() as client:
            for _ in range(20):
                await client.chat.completions.create(model="triage", messages=HELLO)
        dropped = router.dropped("thinned")
        assert 0 < dropped < 20
        await router.server.app.state.recorder.flush()
        assert len(world.registry.exchanges.since(0)) == 20 - dropped
        assert router.value("switchyard_exchanges_written_total") == 20 - dropped
        assert router.dropped("queue") == router.dropped("registry") == 0, "no fault of anything"
        assert router.value("switchyard_tokens_total", tenant="acme", kind="completion") == 140


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    steps=st.lists(st.floats(0, 10), max_size=200),
)
def test_a_budget_never_gives_more_than_its_rate_and_burst(
    rate: float, burst: int, steps: list[float]
) -> None:
    budget, now, given_out = Budget(rate, burst), 0.0, 0
    for step in steps:
        now += step
        wait = budget.take(now)
        given_out += wait == 0.0
        assert given_out <= burst + rate * now + 1e-6
        if wait:
            assert Budget(rate, burst, budget.left, budget.at).take(now + wait + 1e-6) == 0.0


async def test_what_is_pending_at_shutdown_is_written(world: World, engine: FakeEngine) -> None:
    async with running(world, record_interval_s=60.0) as router, router.client() as client:
        await client.chat.completions.create(model="triage", messages=HELLO)
    assert len(world.registry.exchanges.since(0)) == 1


async def test_metrics_are_on_a_port_of_their_own(router: Running) -> None:
    async with router.client() as client:
        await client.chat.completions.create(model="triage", messages=HELLO)
    async with aiohttp.ClientSession() as session, session.get(router.metrics_url) as response:
        text = await response.text()
    for line in (
        'switchyard_requests_total{served="adapter",status="200",tenant="acme"} 1.0',
        'switchyard_request_duration_seconds_count{tenant="acme"} 1.0',
        'switchyard_in_flight{tenant="acme"} 0.0',
        'switchyard_tokens_total{kind="completion",tenant="acme"} 7.0',
        "switchyard_snapshot_age_seconds",
        'switchyard_exchanges_dropped_total{reason="thinned"} 0.0',
        'switchyard_exchanges_dropped_total{reason="queue"} 0.0',
        'switchyard_exchanges_dropped_total{reason="registry"} 0.0',
        "switchyard_exchanges_written_total",
    ):
        assert line in text


def text_of(*blocks: bytes) -> str | None:
    read = said.read(blocks)
    return None if read is None else read.text


def test_an_answers_text_is_read_from_a_body_or_a_streams_events() -> None:
    assert text_of(b'{"choices":[{"message":{"content":"yes"}}]}') == "yes"
    assert text_of(b'{"choices":[{"text":"yes"}]}') == "yes"
    assert text_of(b'{"choices":[{"message":{"content":null}}]}') == ""
    assert (
        text_of(
            b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"index":1,'
            b'"delta":{"content":"b"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"c"}}]}\n\ndata: [DONE]\n\n',
        )
        == "ac"
    )
    assert text_of(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choi') == "a"
    assert text_of() is None and text_of(b"nonsense") is None


@settings(max_examples=50)
@given(st.lists(st.text(max_size=20), max_size=8), st.integers(0, 400))
def test_a_stream_says_the_same_read_at_once_or_chunk_by_chunk(words: list[str], cut: int) -> None:
    """At once where it is plain; a field that is no news makes it read chunk by chunk."""
    chunks = [
        b'data: {"id":"x","choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}\n\n'
        % json.dumps(word, ensure_ascii=False).encode(errors="replace")
        for word in ['"delta":{"content":"', *words]
    ]
    head = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"x":1}]}\n\n'
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    whole = b"".join([head, *chunks, last])
    other = whole.replace(b'"delta":{"role"', b'"delta":{"reasoning":null,"role"')
    assert said._plain(whole) is not None and said._plain(other) is None
    assert text_of(whole) == text_of(other)
    part, rest = whole[: len(head) + cut], other[: len(other) - len(whole) + len(head) + cut]
    assert (text_of(part) or "").startswith(text_of(rest) or "")


def test_how_sure_the_engine_was_is_read_where_it_was_asked_for() -> None:
    """As vLLM says it of chats, texts and responses, whole and streamed."""
    asked: dict[bytes, float | None] = {
        b'{"choices":[{"message":{"content":"a b"},"logprobs":{"content":[{"token":"a","logprob":'
        b'-0.5},{"token":" b","logprob":-1.5}]}}]}': -1.0,
        b'{"choices":[{"text":"a","logprobs":{"token_logprobs":[null,-0.25,-9999.0]}}]}': -0.25,
        b'data: {"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"logprob":-0.5}]}}]}'
        b'\n\ndata: {"choices":[{"delta":{"content":"b"},"logprobs":null}]}\n\n': -0.5,
        b'{"output":[{"type":"message","content":[{"text":"a","logprobs":[{"logprob":-2}]}]}]}': -2,
        b'data: {"type":"response.output_text.delta","delta":"a","logprobs":[{"logprob":-3}]}': -3,
        b'{"choices":[{"message":{"content":"a"},"logprobs":null}]}': None,
    }
    for body, mean in asked.items():
        read = said.read([body])
        assert read is not None and read.mean_logprob == mean and read.text, body


def test_a_tool_that_was_called_is_told_from_an_answer_of_no_words() -> None:
    for body in (
        b'{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]}}]}',
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n',
        b'{"output":[{"type":"function_call","name":"f"}]}',
    ):
        read = said.read([body])
        assert read is not None and read.calls and read.text == "", body
    for body in (b'{"choices":[{"message":{"content":"","tool_calls":[]}}]}', b'{"output":[]}'):
        read = said.read([body])
        assert read is not None and not read.calls, body


def test_a_client_behind_its_own_name_still_says_which_library_it_is() -> None:
    own = (b"user-agent", b"shop/7")
    library = [(b"x-stainless-lang", b"python"), (b"x-stainless-package-version", b"2.3.0")]
    assert client(*client_of({"headers": [own, *library]})) == "shop/7 (library: python 2.3.0)"
    assert client(*client_of({"headers": [own]})) == "shop/7"
    assert client(*client_of({"headers": []})) is None
    long = client_of({"headers": [(b"user-agent", b"x" * 5000)]})
    assert sum(map(len, long)) <= LOOKED_AT, "it is held as long as the record waits"
