"""Which replica a request goes to: two choices, homes, conversations, breakers, restarts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from registry.engines import Engine
from registry.snapshot import Snapshot
from router.breaker import CLOSED, OPEN
from router.replicas import Replicas
from router.settings import RouterSettings
from router.station import Station
from router.tickets import Ticket
from router.view import Replica, View

NOW = 1000.0
DIGEST = "a" * 64


def seen(*engines: Replica, **more: object) -> View:
    known = [
        Engine(id=each.id, url=each.url, base=each.base, max_loras=each.slots, max_lora_rank=8)
        for each in engines
    ]
    return View(snapshot=Snapshot(engines=tuple(known)), ready=engines, **more)  # type: ignore[arg-type]


def engine(number: int, *, slots: int = 4, seats: int = 10, started_at: float = 1.0) -> Replica:
    return Replica(
        f"engine-{number}", f"http://e{number}", "base", started_at, seats, slots, host_slots=8
    )


def fill(station: Station, count: int, adapter: str | None = None) -> list[Ticket]:
    """So many requests in the engine."""
    tickets = [Ticket(f"t{n}", 1.0, adapter, 10.0, NOW) for n in range(count)]
    for each in tickets:
        station.lane.enter(each, NOW)
    return tickets


@pytest.fixture
def replicas() -> Replicas:
    random.seed(5)
    return Replicas(RouterSettings())


def stations(replicas: Replicas, view: View) -> dict[str, Station]:
    replicas.reachable(view, NOW)
    return replicas.stations


def chosen(replicas: Replicas, view: View, **options: object) -> str | None:
    station = replicas.choose(view, NOW, **options)  # type: ignore[arg-type]
    return None if station is None else station.engine.id


def test_of_two_the_less_loaded_is_asked(replicas: Replicas) -> None:
    view = seen(engine(0), engine(1))
    fill(stations(replicas, view)["engine-0"], 3)
    assert {chosen(replicas, view) for _ in range(50)} == {"engine-1"}


def test_of_many_the_most_loaded_is_asked_never_and_the_others_all(replicas: Replicas) -> None:
    view = seen(*(engine(number) for number in range(4)))
    fill(stations(replicas, view)["engine-2"], 5)
    counts = Counter(chosen(replicas, view) for _ in range(300))
    assert counts.keys() == {"engine-0", "engine-1", "engine-3"}
    assert min(counts.values()) > 50


def test_a_conversation_stays_where_it_is_unless_that_costs_something(replicas: Replicas) -> None:
    view = seen(*(engine(number, seats=20) for number in range(4)))
    at = stations(replicas, view)
    own = chosen(replicas, view, key=7)
    assert own is not None
    fill(at[own], 2)
    assert {chosen(replicas, view, key=7) for _ in range(20)} == {own}
    fill(at[own], 1)
    assert own not in {chosen(replicas, view, key=7) for _ in range(20)}


def test_conversations_are_spread_over_replicas(replicas: Replicas) -> None:
    view = seen(*(engine(number) for number in range(4)))
    counts = Counter(chosen(replicas, view, key=random.getrandbits(64)) for _ in range(2000))
    assert len(counts) == 4 and min(counts.values()) > 400


def test_a_version_is_asked_of_its_home(replicas: Replicas) -> None:
    view = seen(*(engine(number) for number in range(4)))
    (home,) = {chosen(replicas, view, digest=DIGEST) for _ in range(20)}
    fill(stations(replicas, view)[str(home)], 9)
    assert {chosen(replicas, view, digest=DIGEST) for _ in range(20)} == {home}


@pytest.mark.parametrize("number", range(4))
def test_a_version_that_an_engine_has_in_memory_is_at_home_there(
    replicas: Replicas, number: int
) -> None:
    engines = [engine(each) for each in range(4)]
    view = seen(*engines, warm={DIGEST: frozenset({f"engine-{number}"})})
    assert chosen(replicas, view, digest=DIGEST) == f"engine-{number}"


def test_a_version_whose_home_is_full_spills_to_a_replica_with_a_free_slot(
    replicas: Replicas,
) -> None:
    view = seen(engine(0), engine(1))
    home = str(chosen(replicas, view, digest=DIGEST))
    at = stations(replicas, view)
    fill(at[home], 10)
    (other,) = at.keys() - {home}
    assert chosen(replicas, view, digest=DIGEST) == other
    assert {*replicas.placement.homes[DIGEST]} == {home, other}


def test_it_does_not_spill_to_a_replica_whose_slots_are_spoken_for(replicas: Replicas) -> None:
    view = seen(engine(0, slots=1), engine(1, slots=1))
    home = str(chosen(replicas, view, digest=DIGEST))
    at = stations(replicas, view)
    (other,) = at.keys() - {home}
    replicas.placement.spread("b" * 64, other)
    fill(at[home], 10)
    assert chosen(replicas, view, digest=DIGEST) == home


@pytest.mark.parametrize("engines", [1, 2])
def test_an_engine_that_could_not_load_the_version_is_not_asked_for_it(
    replicas: Replicas, engines: int
) -> None:
    view = seen(
        *(engine(number) for number in range(engines)),
        failed={DIGEST: frozenset({"engine-0"})},
    )
    assert chosen(replicas, view, digest=DIGEST) == (None if engines == 1 else "engine-1")
    assert chosen(replicas, view, without={"engine-1"}) == "engine-0"


@pytest.mark.parametrize("engines", [1, 2])
def test_an_engine_whose_circuit_is_open_is_left_alone_until_it_may_be_tried(
    replicas: Replicas, engines: int
) -> None:
    view = seen(*(engine(number) for number in range(engines)))
    broken = stations(replicas, view)["engine-0"]
    replicas.failed(broken, NOW, unreachable=True)
    assert broken.breaker.state(NOW) == OPEN
    assert chosen(replicas, view) == (None if engines == 1 else "engine-1")
    assert replicas.reachable(view, NOW) == (engines > 1)
    later = NOW + replicas.settings.cooldown_s
    assert replicas.reachable(view, later)
    probe = {replicas.choose(view, later, without={"engine-1"}) for _ in range(3)}
    assert probe == {broken}
    broken.breaker.begin(later)
    assert replicas.choose(view, later, without={"engine-1"}) is None


def test_another_bases_engine_is_not_asked(replicas: Replicas) -> None:
    view = seen(engine(0), replace(engine(1), base="other"))
    assert {chosen(replicas, view, base="other") for _ in range(10)} == {"engine-1"}
    assert chosen(replicas, view, base="none of them") is None


def test_an_engine_that_was_started_again_begins_anew(replicas: Replicas) -> None:
    view = seen(engine(0), engine(1))
    before = stations(replicas, view)["engine-0"]
    before.ledger.use(DIGEST)
    replicas.failed(before, NOW, unreachable=True)
    ticket = fill(before, 1)[0]
    after = stations(replicas, seen(engine(0, started_at=2.0), engine(1)))["engine-0"]
    assert after is not before
    assert after.ledger.where(DIGEST) == "cold" and after.breaker.state(NOW) == CLOSED
    assert after.lane.running == 0
    before.leave(ticket, NOW + 1, 10.0)
    assert after.lane.running == 0, "what the old one still had is not the new one's"


def test_an_engine_that_is_gone_is_forgotten(replicas: Replicas) -> None:
    assert stations(replicas, seen(engine(0), engine(1))).keys() == {"engine-0", "engine-1"}
    assert stations(replicas, seen(engine(1))).keys() == {"engine-1"}
    assert chosen(replicas, seen(engine(1))) == "engine-1"


def test_what_an_engine_acknowledged_is_held_until_others_push_it_out(replicas: Replicas) -> None:
    warm = {DIGEST: frozenset({"engine-0", "unknown"})}
    at = stations(replicas, seen(engine(0), engine(1), warm=warm))
    assert at["engine-0"].ledger.where(DIGEST) == "host"
    assert at["engine-1"].ledger.where(DIGEST) == "cold"
    for number in range(8):
        at["engine-0"].ledger.use(f"{number:064x}")
    assert at["engine-0"].ledger.where(DIGEST) == "cold"
    stations(replicas, seen(engine(0), engine(1), warm=warm))  # the next look at the registry
    assert at["engine-0"].ledger.where(DIGEST) == "cold", "it is said again, but it is old"
    assert at["engine-0"].ledger.where(f"{0:064x}") != "cold"
