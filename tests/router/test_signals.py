"""What the router notes of each answer without keeping it, and how text is kept where it is."""

from __future__ import annotations

from typing import Any

from registry.exchanges import Exchange
from registry.signals import Window
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running
from tests.router.test_chat import HELLO
from tests.router.test_records import exchanges

FORMS: dict[str, Any] = {"kind": "label", "labels": ["billing", "delivery"]}


async def ask(router: Running, tenant: str, model: str, **options: Any) -> None:
    """One chat, whole or streamed, to its end."""
    async with router.client(tenant) as client:
        answer = await client.chat.completions.create(model=model, messages=HELLO, **options)
        if options.get("stream"):
            async for _ in answer:
                pass


def windows(world: World, tenant: str, adapter: str) -> list[Window]:
    return world.registry.signals.windows(tenant, adapter, since=0.0)


async def test_each_answer_leaves_signals_and_no_text(world: World, engine: FakeEngine) -> None:
    world.registry.adapters.update("lex", "clauses", answers=FORMS)
    said = iter(["billing", "I'm sorry, but I can't help with that.", "wait a bit " * 40])
    engine.answer = lambda _model, _messages: next(said)
    async with running(world, prompt_price=3.0, completion_price=12.0) as router:
        await ask(router, "lex", "clauses")
        await ask(router, "lex", "clauses", stream=True)
        await ask(router, "lex", "clauses", logprobs=True)
        good, refused, loop = await exchanges(router, 3)
        counted = {
            name: router.value(f"switchyard_{metric}", tenant="lex", **labels)
            for name, metric, labels in (
                ("valid", "answer_formats_total", {"outcome": "valid"}),
                ("invalid", "answer_formats_total", {"outcome": "invalid"}),
                ("answered", "answers_read_total", {"outcome": "answered"}),
                ("refused", "answers_read_total", {"outcome": "refused"}),
                ("looped", "answer_repetition_count", {}),
            )
        }
    assert counted == {"valid": 1, "invalid": 2, "answered": 2, "refused": 1, "looped": 3}
    assert (good.valid, good.refused, good.repetition, good.answer_chars) == (True, False, 0.0, 7)
    assert (refused.valid, refused.refused, refused.answer_chars) == (False, True, 38)
    assert (loop.valid, loop.refused) == (False, False)
    assert loop.repetition is not None and loop.repetition > 0.9
    assert loop.mean_logprob is not None and loop.mean_logprob < 0.0
    assert good.mean_logprob is None and refused.mean_logprob is None
    for row in (good, refused, loop):
        assert row.messages is None and row.answer is None and row.sketch
        assert row.cost is not None
        assert row.cost * 1e6 == 3.0 * row.prompt_tokens + 12.0 * row.completion_tokens
    [window] = windows(world, "lex", "clauses")
    assert (window.requests, window.checked, window.valid) == (3, 3, 1 / 3)
    assert (window.told, window.streamed) == (1, 1)


async def test_a_streams_time_is_split_in_waiting_reading_and_writing(
    world: World, engine: FakeEngine
) -> None:
    engine.slow_ms = 20.0
    async with running(world) as router:
        await ask(router, "acme", "triage", stream=True)
        await ask(router, "acme", "triage")
        stream, whole = await exchanges(router, 2)
    assert stream.prefill_ms is not None and stream.decode_ms is not None
    assert stream.prefill_ms >= 20.0 and stream.decode_ms >= 20.0
    assert stream.queue_ms + stream.prefill_ms + stream.decode_ms <= stream.latency_ms
    assert whole.prefill_ms is None and whole.decode_ms is None
    assert whole.cost is None, "nobody said what tokens cost"


async def test_what_an_adapter_wants_of_its_answers_may_change(
    world: World, engine: FakeEngine
) -> None:
    engine.answer = lambda _model, _messages: '{"city": "Leipzig"}'

    async def valid() -> bool | None:
        before = len(world.registry.exchanges.since(0))
        async with running(world) as router:
            await ask(router, "acme", "triage")
            rows = await exchanges(router, before + 1)
        return rows[-1].valid

    assert await valid() is None
    for schema, expected in (({"required": ["city"]}, True), ({"required": ["zip"]}, False)):
        world.registry.adapters.update("acme", "triage", answers={"schema": schema})
        assert await valid() is expected


async def test_an_answer_that_is_longer_than_what_is_looked_at_is_judged_by_its_beginning(
    world: World, engine: FakeEngine
) -> None:
    world.registry.adapters.update("lex", "clauses", answers=FORMS)
    engine.answer = lambda _model, _messages: "I'm sorry, but I can't help you, " + "ever " * 200
    async with running(world, signal_bytes=4000) as router:
        await ask(router, "lex", "clauses", stream=True)
        [row] = await exchanges(router, 1)
    assert (row.valid, row.answer_chars, row.refused) == (None, None, True)
    assert row.completion_tokens > 100 and row.finish_reason is not None


async def test_kept_text_is_redacted_unless_the_router_was_told_not_to(
    world: World, engine: FakeEngine
) -> None:
    mine = [{"role": "user", "content": "I am jo@example.org, card 4111 1111 1111 1111"}]
    rows: list[Exchange] = []
    for redact in (True, False):
        async with running(world, redact_text=redact) as router, router.client() as client:
            await client.chat.completions.create(model="triage", messages=mine)  # type: ignore[arg-type]
            rows = await exchanges(router, len(rows) + 1)
    hidden, open_ = rows
    assert hidden.messages == {
        "messages": [{"role": "user", "content": "I am [email-address], card [credit-card]"}]
    }
    assert hidden.answer and hidden.answer.endswith(
        "says: I am [email-address], card [credit-card]"
    )
    assert open_.messages == {"messages": mine}
    assert open_.answer and open_.answer.endswith("card 4111 1111 1111 1111")
    assert hidden.answer_chars == open_.answer_chars == len(open_.answer)


async def test_what_is_said_as_feedback_is_redacted_as_well(
    world: World, engine: FakeEngine
) -> None:
    """`lex` keeps no text: what it gives as a correction is kept, on purpose."""
    secret = "card 4111 1111 1111 1111"
    for redact in (True, False):
        async with running(world, redact_text=redact) as router, router.client("lex") as client:
            answer = await client.chat.completions.create(model="clauses", messages=HELLO)
            said = {"completion_id": answer.id, "correction": f"jo@example.org: {secret}"}
            said |= {"label": secret, "messages": [{"role": "user", "content": secret}]}
            shown = await client.post("/feedback", body=said, cast_to=dict[str, Any])
        row = world.registry.corrections.of("lex", "clauses")[-1]
        texts = [row.correction, row.label, row.messages, shown["correction"], shown["label"]]
        assert all(("4111" in str(text)) == (not redact) for text in texts)
        assert row.correction == shown["correction"] != ""


async def test_text_that_is_too_long_to_keep_still_gives_signals(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, record_text_bytes=40) as router:
        await ask(router, "acme", "triage")
        [row] = await exchanges(router, 1)
    assert row.answer is None and row.messages is None
    assert row.answer_chars and row.refused is False
