"""Answers of a broken pipeline or a broken engine prove nothing, whenever they are spoken of."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace

import pytest

from monitoring.controller import Controller
from monitoring.integrity import layout
from monitoring.metrics import Metrics
from monitoring.sketch import sketches
from registry import Registry
from tests.monitoring.scene import SETTINGS, Clock
from tests.monitoring.tickets import prompt, ticket

BEFORE, LIVE = "a" * 64, "b" * 64


class Tenant:
    """`acme`, whose version LIVE took BEFORE's place a short while ago, and its requests."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.clock = Clock()
        self.numbers = itertools.count()
        registry.tenants.create("acme", store_text=True)
        registry.adapters.create("acme", "support", "tiny")
        registry.aliases.ensure("acme", "support", "support")
        settings = replace(SETTINGS, reference=60, min_corrections=20)
        self.controller = Controller(registry, settings, Metrics(), clock=self.clock)
        for digest in (BEFORE, LIVE):
            row = {"messages": [*prompt("old"), {"role": "assistant", "content": "billing"}]}
            file_id = registry.upload("acme", "train.jsonl", json.dumps(row).encode())
            job = registry.jobs.enqueue("acme", "support", file_id)
            assert registry.jobs.lease("worker") is not None
            registry.versions.publish(
                "acme",
                "support",
                digest,
                manifest={},
                evaluation={},
                verdict="promote",
                job_id=job.id,
            )
            registry.jobs.succeed(job.id, "worker", digest)
            registry.versions.certify(digest, {"passed": True})
            self.clock.now += 1
            registry.aliases.flip("acme", "support", digest, at=self.clock())
            self.controller.tick()

    def ask(self, count: int, *, valid: bool = True, broken: bool = False) -> list[str]:
        """Requests that LIVE answered; their ids."""
        chance = random.Random(next(self.numbers))
        asked = [ticket(chance, new=False) for _ in range(count)]
        if broken:
            asked = [f"<|im_start|>user\n{text}<|im_end|>" for text in asked]
        messages = [prompt(text) for text in asked]
        rows = []
        for said, packed in zip(messages, sketches(messages), strict=True):
            self.clock.now += 1
            rows.append(
                {
                    "id": f"chatcmpl-{next(self.numbers)}",
                    "tenant": "acme",
                    "alias": "support",
                    "adapter": "support",
                    "digest": LIVE,
                    "served": "adapter",
                    "role": "live",
                    "status": 200,
                    "latency_ms": 5.0,
                    "created_at": self.clock.now,
                    "sketch": packed,
                    "layout": layout(said),
                    "valid": valid,
                    "messages": {"messages": said},
                    "answer": "billing",
                }
            )
        self.registry.exchanges.add(rows)
        return [str(row["id"]) for row in rows]

    def correct(self, ids: list[str]) -> None:
        for name in ids:
            self.registry.exchanges.give_feedback("acme", name, correction="smart-home")

    def tick(self) -> None:
        for _ in range(2):
            self.controller.tick()

    def recheck(self, reason: str = "") -> None:
        again = {"passed": not reason, "reason": reason, "at": self.clock()}
        self.registry.versions.certify(LIVE, {"passed": True, "again": again})

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(d.kind, d.rule) for d in self.registry.decisions.all("acme")[::-1]]


@pytest.fixture
def tenant(sqlite_registry: Registry) -> Tenant:
    return Tenant(sqlite_registry)


def praised(tenant: Tenant) -> None:
    """Ordinary traffic, of which people spoke well."""
    for name in tenant.ask(200)[:40]:
        tenant.registry.exchanges.give_feedback("acme", name, rating=1.0)
    tenant.tick()


def test_what_is_said_later_of_a_broken_pipelines_answers_rolls_nothing_back_and_trains_nobody(
    tenant: Tenant,
) -> None:
    praised(tenant)
    broken = tenant.ask(200, broken=True)
    tenant.tick()
    assert tenant.kinds == [("hold", "pipeline-changed")]
    tenant.ask(200)
    tenant.tick()
    tenant.correct(broken)
    tenant.tick()
    assert tenant.kinds == [("hold", "pipeline-changed")]
    assert tenant.registry.aliases.get("acme", "support").live == LIVE
    assert tenant.registry.corrections.of("acme", "support") == []
    assert tenant.registry.news.corrections() == {}
    why = {"the messages were built in another way than usual": 200}
    assert tenant.registry.corrections.unusable("acme", "support") == why


def test_the_same_words_about_sound_requests_do(tenant: Tenant) -> None:
    praised(tenant)
    tenant.correct(tenant.ask(200))
    tenant.tick()
    assert tenant.kinds[-1] == ("rollback", "quality-down-after-promotion")


def test_a_restart_in_between_forgets_no_broken_time(tenant: Tenant) -> None:
    praised(tenant)
    broken = []
    for _ in range(5):
        broken += tenant.ask(40, broken=True)
        tenant.tick()
        tenant.controller = Controller(
            tenant.registry, tenant.controller._settings, Metrics(), clock=tenant.clock
        )
    sound = tenant.ask(200)
    tenant.tick()
    tenant.correct([*broken, *sound[-10:]])
    assert len(tenant.registry.corrections.of("acme", "support")) == 10


def test_what_a_person_accepts_is_learned_from_after_all(tenant: Tenant) -> None:
    praised(tenant)
    changed = tenant.ask(100, broken=True)
    tenant.tick()
    tenant.correct(changed)
    assert tenant.registry.corrections.of("acme", "support") == []
    tenant.registry.decisions.record("acme", "support", "ask", "accept", by="ada")
    tenant.tick()
    assert len(tenant.registry.corrections.of("acme", "support")) == 100


def test_answers_of_a_broken_engine_roll_nothing_back_once_it_is_mended(tenant: Tenant) -> None:
    tenant.recheck()
    tenant.ask(200)
    tenant.tick()
    tenant.ask(12, valid=False)
    tenant.tick()  # nobody knows yet: the next look at the canary prompts will say so
    tenant.recheck("on engine-0: other figures")
    broken = tenant.ask(60, valid=False)
    tenant.tick()
    assert ("hold", "artifact-changed") in tenant.kinds
    before = tenant.kinds
    tenant.recheck()
    tenant.ask(100)
    tenant.correct(broken)
    tenant.tick()
    assert tenant.kinds == before
    assert tenant.registry.aliases.get("acme", "support").live == LIVE
    assert len(tenant.registry.corrections.of("acme", "support")) == 60, "people were right"


def test_what_it_answers_after_that_counts_again(tenant: Tenant) -> None:
    tenant.ask(200)
    tenant.tick()
    tenant.recheck("on engine-0: other figures")
    tenant.tick()
    tenant.recheck()
    tenant.ask(200, valid=False)
    tenant.tick()
    assert tenant.kinds[-1] == ("rollback", "quality-down-after-promotion")
