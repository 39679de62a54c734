"""The control arm: a share of conversations that the base answers although a version is live."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registry.aliases import Alias
from registry.exchanges import CONTROL
from registry.tenants import Tenant
from registry.versions import Version
from router.select import CANARY, LIVE, Target, choose
from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, Running, World, until
from tests.router.test_canary import ask, canary


@pytest.fixture
async def controlled(router: Running, world: World) -> AsyncIterator[Running]:
    """Half of acme's conversations go to the base."""
    await share(router, 0.5)
    yield router


async def share(router: Running, control_share: float) -> None:
    router.world.registry.tenants.update("acme", control_share=control_share)
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= router.world.registry.revision(),
        "the share to be known",
    )


async def test_the_base_answers_its_share_in_plain_sight_and_keeps_its_conversations(
    controlled: Running, world: World
) -> None:
    (live,) = [v.served_name for v in world.registry.versions.all("acme") if v.state == "live"]
    async with controlled.client() as client:
        first = [await ask(client, f"ticket {n}") for n in range(24)]
        again = [await ask(client, f"ticket {n}", "well?", "and?") for n in range(24)]
    assert {*first} == {(live, "", "none"), ("base", "control", "none")}
    assert first == again, "a conversation stays with whom it began"


async def test_its_exchanges_are_marked_and_are_no_fallbacks(
    controlled: Running, world: World
) -> None:
    async with controlled.client() as client:
        answered = [await ask(client, f"ticket {n}") for n in range(24)]
    await controlled.server.app.state.recorder.flush()
    rows = world.registry.exchanges.since(0)
    control = [row for row in rows if row.role == CONTROL]
    assert len(control) == answered.count(("base", "control", "none"))
    assert {(r.served, r.fallback, r.digest, r.adapter) for r in control} == {
        ("base", "", None, "triage")
    }
    assert all(row.sketch is not None for row in control), "what is asked counts, whoever answers"
    told = controlled.metrics.registry.get_sample_value
    labels = {"tenant": "acme", "served": "base", "status": "200"}
    assert told("switchyard_requests_total", labels) == len(control)
    fallbacks = [
        sample.value
        for metric in controlled.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "switchyard_fallbacks_total"
    ]
    assert sum(fallbacks) == 0


async def test_corrections_of_the_base_train_nobody(controlled: Running, world: World) -> None:
    world.registry.tenants.update("acme", store_text=True)
    await share(controlled, 0.5)
    async with controlled.client() as client:
        for number in range(24):
            await ask(client, f"ticket {number}")
    await controlled.server.app.state.recorder.flush()
    rows = world.registry.exchanges.since(0)
    for row in rows:
        world.registry.exchanges.give_feedback("acme", row.id, correction="billing")
    corrected = world.registry.corrections.of("acme", "triage")
    assert {f.exchange_id for f in corrected} == {r.id for r in rows if r.role != CONTROL}
    assert 0 < len(corrected) < len(rows)


async def test_without_the_base_the_live_version_answers_and_it_is_no_fallback(
    controlled: Running, engine: FakeEngine, world: World
) -> None:
    (live,) = [v.served_name for v in world.registry.versions.all("acme") if v.state == "live"]
    engine.base = "another"  # what the router asks for is not there
    async with controlled.client() as client:
        answered = {await ask(client, f"ticket {n}") for n in range(12)}
    assert answered == {(live, "", "none")}


async def test_the_base_asked_for_by_name_is_no_control(controlled: Running) -> None:
    async with controlled.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model=BASE, messages=[{"role": "user", "content": "hello"}]
        )
    assert "x-switchyard-role" not in raw.headers


async def test_a_canary_keeps_its_conversations(controlled: Running, engine: FakeEngine) -> None:
    _, new = await canary(controlled, engine, 1.0)
    async with controlled.client() as client:
        assert {await ask(client, f"ticket {n}") for n in range(12)} == {(new, "canary", "none")}


def test_choosing_is_by_the_number_alone() -> None:
    live, new = Version(digest="a" * 64), Version(digest="b" * 64)
    alias = Alias(tenant="t", name="n", adapter="n", canary_weight=0.25)
    target = Target("n", alias, "n", version=live, canary=new, control=0.125)
    assert choose(target, int(0.2 * 2**64)) == (new, CANARY)
    assert choose(target, int(0.8 * 2**64)) == (live, LIVE)
    assert choose(target, int(0.9 * 2**64)) == (None, CONTROL)


def test_nobody_has_one_unless_it_is_asked_for() -> None:
    assert Tenant.__table__.c.control_share.default.arg == 0.0
