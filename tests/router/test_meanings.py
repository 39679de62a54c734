"""What words mean, from engines' rows to the sketches of prompts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import structlog

from monitoring.meaning import Meaning
from monitoring.metrics import Metrics
from monitoring.sketch import sketches
from registry import Registry
from registry.snapshot import Snapshot
from registry.store import Store
from router.call import Call
from router.meanings import Meanings
from router.recorder import Recorder
from router.select import Target
from router.settings import RouterSettings
from router.view import Replica
from serve.meanings import make, settle
from serve.vocabulary import texts
from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, ENGINE_KEY, World, running, until
from tests.router.test_chat import HELLO
from tests.router.test_records import exchanges

OWN = Path(__file__).parents[2] / "train" / "base" / BASE
PROMPTS = [[{"role": "user", "content": words}] for words in ("a late parcel", "odd", "my invoice")]


@pytest.fixture(scope="module")
def meaning() -> Meaning:
    return make(OWN)


def tell(registry: Registry, base: str, digest: str) -> Snapshot:
    """Say which table goes with a base; the snapshot after it."""
    registry.engines.register(f"of-{base}", "http://e", base, max_loras=1, max_lora_rank=8)
    registry.engines.set_meaning(base, digest)
    return registry.snapshot()


def call(number: int, world: World, base: str = BASE) -> Call:
    tenant = world.registry.tenants.get("acme")
    return Call(
        f"{number}",
        f"chatcmpl-{number}",
        time.monotonic(),
        time.time(),
        tenant=tenant,
        target=Target(asked=base),
        engine=Replica("engine-0", "http://e", base),
        status=200,
        messages=msgspec.json.encode(PROMPTS[number]),
        ended=time.monotonic(),
    )


async def test_prompts_are_sketched_by_what_the_engines_base_says_words_mean(
    world: World, engine: FakeEngine, meaning: Meaning
) -> None:
    async with running(world, reload_interval_s=0.05, revision_interval_s=0.05) as router:
        async with router.client() as client:
            await client.chat.completions.create(model="triage", messages=HELLO)
            [before] = await exchanges(router, 1)
            digest = settle(world.registry, str(OWN), BASE)
            snapshots = router.server.app.state.snapshots
            await until(
                lambda: snapshots.view.snapshot.engines[0].meaning == digest, "a new snapshot"
            )
            await client.chat.completions.create(model="triage", messages=HELLO)
        _, after = await exchanges(router, 2)
    assert before.sketch == sketches([HELLO])[0]
    assert after.sketch == sketches([HELLO], meaning)[0]
    assert after.sketch != before.sketch


def test_each_base_has_its_own_and_keeps_it_until_its_engines_say_otherwise(
    sqlite_registry: Registry, meaning: Meaning
) -> None:
    store, kept = sqlite_registry.store, [sqlite_registry.snapshot()]
    meanings = Meanings(store, lambda: kept[-1])
    assert meanings.of(BASE) is None
    kept.append(tell(sqlite_registry, BASE, store.put_blob(meaning.dump())))
    first = meanings.of(BASE)
    assert first is not None and first.mark == meaning.mark
    assert meanings.of("large") is None
    for engine in sqlite_registry.engines.all():
        sqlite_registry.engines.remove(engine.id)
    kept.append(sqlite_registry.snapshot())
    assert meanings.of(BASE) is first, "the next engine has not told yet"
    words = texts(OWN)
    rows = np.random.default_rng(0).normal(size=(len(words), 64)).astype(np.float32)
    other = Meaning.make(words, rows)
    kept.append(tell(sqlite_registry, BASE, store.put_blob(other.dump())))
    second = meanings.of(BASE)
    assert second is not None and second.mark == other.mark != first.mark
    assert meanings.of(BASE) is second


def test_a_store_that_is_away_is_one_warning_and_is_asked_again_after_a_while(
    sqlite_registry: Registry, meaning: Meaning
) -> None:
    now = [100.0]
    asked: list[str] = []

    class Counting(Store):
        def blob(self, digest: str) -> bytes:
            asked.append(digest)
            return super().blob(digest)

    store = Counting(sqlite_registry.store.url)
    elsewhere = Store("memory://meanings-elsewhere")
    snapshot = tell(sqlite_registry, BASE, elsewhere.put_blob(meaning.dump()))
    meanings = Meanings(store, lambda: snapshot, clock=lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert meanings.of(BASE) is None
        assert len(asked) == 1, "not at each batch"
        now[0] += 61.0
        assert meanings.of(BASE) is None
        assert len(asked) == 2
        store.put_blob(meaning.dump())
        now[0] += 61.0
        found = meanings.of(BASE)
    assert found is not None and found.mark == meaning.mark
    assert [line["log_level"] for line in logs] == ["warning"]


async def test_a_batch_is_sketched_at_once_for_each_base(world: World, meaning: Meaning) -> None:
    batches: list[tuple[list[object], bool]] = []

    def counted(conversations: Sequence[object], known: Meaning | None = None) -> list[bytes]:
        batches.append(([*conversations], known is not None))
        return sketches(conversations, known)

    registry = world.registry
    snapshot = tell(registry, BASE, registry.store.put_blob(meaning.dump()))
    meanings = Meanings(registry.store, lambda: snapshot)
    recorder = Recorder(
        RouterSettings(engine_api_key=ENGINE_KEY),
        registry,
        Metrics(),
        sketches=counted,
        meanings=meanings,
    )
    for number, base in enumerate((BASE, "large", BASE)):
        recorder.offer(call(number, world, base))
    await recorder.flush()
    await recorder.shutdown()
    assert batches == [([PROMPTS[0], PROMPTS[2]], True), ([PROMPTS[1]], False)]
    rows = {row.id: row.sketch for row in registry.exchanges.since(0)}
    first, last = sketches([PROMPTS[0], PROMPTS[2]], meaning)
    [other] = sketches([PROMPTS[1]])
    assert rows == {"chatcmpl-0": first, "chatcmpl-1": other, "chatcmpl-2": last}


async def test_a_prompt_that_cannot_be_sketched_costs_no_other_its_record(world: World) -> None:
    def picky(conversations: Sequence[object], known: Meaning | None = None) -> list[bytes]:
        if PROMPTS[1] in conversations:
            raise RecursionError
        return sketches(conversations, known)

    meanings = Meanings(world.registry.store, world.registry.snapshot)
    recorder = Recorder(
        RouterSettings(engine_api_key=ENGINE_KEY),
        world.registry,
        Metrics(),
        sketches=picky,
        meanings=meanings,
    )
    for number in range(3):
        recorder.offer(call(number, world))
    await recorder.flush()
    await recorder.shutdown()
    rows = {row.id: row.sketch for row in world.registry.exchanges.since(0)}
    expected = [sketches([prompt])[0] for prompt in PROMPTS]
    assert rows == {
        "chatcmpl-0": expected[0],
        "chatcmpl-1": None,
        "chatcmpl-2": expected[2],
    }
