"""Ten thousand hostile requests against a router's process: nobody gets what isn't theirs, nothing
of the insides shows, no key or prompt is logged, and afterwards it serves as before."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import aiohttp
import psutil
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from router.answer import Outcome
from tests import fake_shapes
from tests.fake_engine import BODY, FakeEngine
from tests.router.conftest import BASE, ENGINE_KEY, World, running, until
from tests.router.hostile_requests import PROMPT, WRONG, Arsenal, Attack
from tests.router.rawhttp import Answer, Wire, request
from tests.router.test_errors import is_error
from tests.router.test_workers import Command, command

COUNT = 10_500
WARM_UP = 4_000
AT_ONCE = 32
INSIDES = (
    b"Traceback", b"site-packages", b".py", b"/work", b"/home", b"/tmp", b"127.0.0.1", b"engine-0",
    b"sqlite", b"uvicorn", b"msgspec", b"Exception", b"cache_salt=",
)  # fmt: skip
ODD_NUMBERS = (True, False, -1)
REFUSALS = {400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 431}
SENT_ON = {"host", "content-type", "authorization", "x-request-id", "content-length", "traceparent"}


class CheckingEngine(FakeEngine):
    """Like vLLM, it answers 400 to values of the wrong type."""

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        async def checked(request: web.Request) -> web.StreamResponse:
            try:
                json.dumps(request.get(BODY), allow_nan=False)
                if any(request[BODY].get(name) in ODD_NUMBERS for name in ("n", "max_tokens")):
                    raise ValueError(request.path)
                answer: web.StreamResponse = await handler(request)
            except (TypeError, ValueError, KeyError, AttributeError, IndexError):
                return fake_shapes.error(400, "1 validation error", "BadRequestError", None)
            return answer

        return await super()._middleware(request, checked)


@dataclass
class Verdicts:
    """What came of the attacks. `wrong`: sentences about answers that should not be."""

    world: World
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.own: dict[str, set[bytes]] = {name: set() for name in self.world.keys}
        for version in self.world.registry.versions.all():
            names = (version.served_name, version.fine_tuned_name, version.digest)
            self.own[version.tenant] |= {name.encode() for name in names}

    def judge(self, attack: Attack, answer: Answer) -> None:
        """Every rule that holds for every answer."""
        self.statuses[attack.theme, answer.status] += 1
        for fault in self._faults(attack, answer):
            shown = (attack.theme, attack.raw[:300], answer.status, answer.body[:300])
            self.wrong.append(f"{fault}: {shown}")

    def _faults(self, attack: Attack, answer: Answer) -> Iterator[str]:
        status, head = answer.status, repr(answer.headers).encode()
        asked = attack.raw + unquote_to_bytes(attack.raw)
        if status == 0:
            if not attack.may_end:
                yield "no answer"
            return
        if not answer.whole:
            yield "an answer cut off"
        if "x-request-id" not in answer.headers:
            yield "no x-request-id"
        if "x-injected" in answer.headers:
            yield "a header was injected"
        if any(key.encode() in answer.body + head for key in self.world.keys.values()):
            yield "a key was shown"
        if any(word in answer.body + head and word not in asked for word in INSIDES):
            yield "insides were shown"
        for tenant, names in self.own.items():
            if tenant != attack.tenant and any(
                name in answer.body + head and name not in asked for name in names
            ):
                yield f"a name of {tenant}'s was shown"
        if 200 <= status < 300:
            yield from self._served(attack, answer)
        elif status not in REFUSALS:
            yield "a status that no attack should get"
        elif not attack.raw.startswith(b"HEAD "):
            try:
                assert is_error(answer.json)
            except (ValueError, KeyError, AssertionError, TypeError, AttributeError):
                yield "not an error of OpenAI's shape"
            if PROMPT.encode() in answer.body or WRONG.encode() in answer.body + head:
                yield "a prompt or a key was repeated"

    def _served(self, attack: Attack, answer: Answer) -> Iterator[str]:
        tenant = answer.headers.get("x-switchyard-tenant")
        if tenant is None:
            return  # a list of models, or health
        if tenant != attack.tenant:
            yield f"answered as {tenant}"
            return
        served = answer.headers["x-switchyard-version"].encode()
        if served != b"base" and served not in self.own[tenant]:
            yield "served by another's version"


async def fire(url: str, attacks: Iterator[Attack], count: int, verdicts: Verdicts) -> None:
    """So many attacks, some at a time; nothing may hang."""
    left = iter(range(count))

    async def attacker() -> None:
        wire: Wire | None = None
        for _ in left:
            attack = next(attacks)
            wire = wire or Wire(url)
            method = attack.raw.split(b" ", 1)[0]
            async with asyncio.timeout(30):
                # What is read while it is sent: the router may answer before it has everything.
                sending = asyncio.create_task(wire.send(attack.raw))
                await wire.opened()
                answer = await wire.read(method)
                await sending if answer.status else sending.cancel()
            verdicts.judge(attack, answer)
            closed = answer.headers.get("connection") == "close" or not answer.whole
            if closed or attack.theme in ("large", "mutation"):  # some promise more than they send
                wire.close()
                wire = None
        if wire is not None:
            wire.close()

    await asyncio.gather(*(attacker() for _ in range(AT_ONCE)))


async def scraped(started: Command) -> tuple[str, set[tuple[str, str]], int]:
    """The metrics: as text, every (label, value), how many series."""
    async with aiohttp.ClientSession() as session, session.get(started.metrics_url) as answer:
        text = await answer.text()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return text, {pair for sample in samples for pair in sample.labels.items()}, len(samples)


@pytest.mark.timeout(600)
async def test_ten_thousand_hostile_requests(world: World, tmp_path: Path) -> None:
    registry = world.registry
    registry.tenants.update("acme", requests_per_minute=1_000_000, max_concurrent=1000)
    registry.tenants.update("solo", requests_per_minute=600, tokens_per_minute=2_000_000)
    versions = registry.versions.all()
    served = {version.served_name for version in versions}
    names = [BASE, "triage", "clauses", *served, *(v.fine_tuned_name for v in versions)]
    names += [version.digest for version in versions]
    arsenal = Arsenal(dict(world.keys), sorted(names))
    everything = list(_take(arsenal.all(), COUNT, arsenal.random))
    verdicts = Verdicts(world)
    options = {"head_timeout_s": 1, "body_timeout_s": 1, "access_log": True}
    async with (
        CheckingEngine(base=BASE, adapters=served, api_key=ENGINE_KEY) as engine,
        command(world, tmp_path, 1, **options) as started,
    ):
        world.engine(engine)
        process = psutil.Process(started.process.pid)
        attacks = iter(everything)
        await until(lambda: _serves(started, world), "the engine to be known")
        await fire(started.url, attacks, WARM_UP, verdicts)
        settled = process.memory_info().rss
        _, _, series = await scraped(started)
        await fire(started.url, attacks, COUNT - WARM_UP, verdicts)
        grown = process.memory_info().rss - settled
        text, labels, more_series = await scraped(started)
        assert await _serves(started, world), "it must serve as before"
        await until(lambda: _idle(started), "nothing to be under way")

    assert verdicts.statuses.total() == COUNT >= 10_000
    assert verdicts.wrong == [], f"{len(verdicts.wrong)} wrong\n" + "\n".join(verdicts.wrong[:20])
    assert verdicts.statuses["model", 404] > 1000 and verdicts.statuses["key", 401] > 100
    large = [verdicts.statuses["large", status] for status in (413, 408)]
    assert sum(large) == 2 * len(world.keys) and large[0] > 0
    assert sum(line.get("event") == "request" for line in started.lines) > 1000
    logged = json.dumps(started.lines)
    for secret in (*world.keys.values(), PROMPT, WRONG, ENGINE_KEY):
        assert secret not in logged and secret[6:] not in logged and secret not in text
    assert [line for line in started.lines if "raw" in line or line.get("level") == "error"] == []
    assert {value for label, value in labels if label == "tenant"} <= {*world.keys, "none", "other"}
    assert more_series < series + 40, "series must not grow with what is asked"
    assert grown < 16 << 20, f"grew by {grown >> 20} MiB over {COUNT - WARM_UP} requests"
    _check_what_reached_the_engine(engine, world, served)


async def test_an_engine_that_counts_nonsense_costs_no_place_and_no_limit(
    world: World, engine: FakeEngine
) -> None:
    world.registry.tenants.update("acme", max_concurrent=1, tokens_per_minute=100_000)
    body = json.dumps({"model": "triage", "n": -1, "messages": [{"role": "user", "content": "x"}]})
    async with running(world) as router:
        for _ in range(3):
            status, answer, headers = await router.post(body.encode())
            assert status == 200 and answer["usage"]["completion_tokens"] < 0
            assert int(headers["x-ratelimit-remaining-tokens"]) < 100_000
        assert router.value("switchyard_in_flight", tenant="acme") == 0


def test_no_count_of_an_engines_is_beyond_what_limits_and_the_registry_can_hold() -> None:
    outcome = Outcome()
    outcome.tell(10**30, -(10**30))
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (2**31 - 1, 0)


def _take(attacks: Iterator[Attack], count: int, order: random.Random) -> list[Attack]:
    """The first so many, in any order: warm-up and the rest are of one kind."""
    taken = [next(attacks) for _ in range(count)]
    order.shuffle(taken)
    return taken


def _check_what_reached_the_engine(engine: FakeEngine, world: World, served: set[str]) -> None:
    """Only its tenant's names with its tenant's salt, and nothing of the client's head."""
    salts = {tenant.cache_salt: tenant.name for tenant in world.registry.tenants.all()}
    owners = {version.served_name: version.tenant for version in world.registry.versions.all()}
    received = [each for each in engine.requests if each.method == "POST"]
    assert len(received) > 500
    for each in received:
        assert each.headers.keys() <= SENT_ON, each.headers
        assert each.headers["authorization"] == f"Bearer {ENGINE_KEY}"
        tenant = salts[each.body["cache_salt"]]
        model = each.body["model"]
        assert model == BASE or owners[model] == tenant, (tenant, model)


async def _serves(started: Command, world: World) -> bool:
    wire = Wire(started.url)
    body = json.dumps({"model": "triage", "messages": [{"role": "user", "content": "x"}]})
    await wire.send(request(body.encode(), world.keys["acme"]))
    answer = await wire.read()
    wire.close()
    return answer.status == 200 and b"triage@" in answer.body


async def _idle(started: Command) -> bool:
    values = [await started.value("switchyard_in_flight", tenant=t) for t in started.world.keys]
    return not any(values)
