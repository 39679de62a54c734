"""A world for the controller: tenants whose traffic changes by a script, in compressed time.

Real: the registry, the controller, its rollouts, sketches, layouts. Played: the router (who answers
is drawn by the aliases' weights), the worker (a job takes a day, its version is as good as the
script says), the swapper's check, and people, who correct a share of wrong answers.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from monitoring.controller import Controller
from monitoring.integrity import layout
from monitoring.metrics import Metrics
from monitoring.settings import ControllerSettings
from monitoring.sketch import sketch
from registry import Registry
from registry.aliases import Alias
from registry.decisions import Decision
from registry.exchanges import Exchange
from tests.monitoring.tickets import prompt, ticket

DAY_S = 86_400.0
START = 2_000_000_000.0
MONTH = 30


@dataclass(frozen=True)
class Asked:
    """A question as the router records it."""

    messages: list[dict[str, Any]]
    sketch: bytes
    layout: int


@cache
def questions(new: bool, broken: bool) -> tuple[Asked, ...]:
    """Many, to draw from; `broken` ones carry a chat template within."""
    chance = random.Random(7)
    found = []
    for _ in range(700):
        text = ticket(chance, new)
        if broken:
            text = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        messages = prompt(text)
        found.append(Asked(messages, sketch(messages), layout(messages)))
    return tuple(found)


@dataclass(frozen=True)
class Skill:
    """How a version does: shares of right answers to ordinary and to new questions, and of answers
    that are in form."""

    ordinary: float = 0.95
    new: float = 0.2
    form: float = 0.995


@dataclass
class Player:
    """A tenant's script. `new(day)`: share of questions of the new kind. `requests(day)`: how many.
    `broken(day)`: whether its client applies a chat template by itself. `says`: share of wrong
    answers that people correct. `learns`: how each retrained version does, in turn."""

    name: str
    new: Callable[[int], float] = lambda _: 0.0
    requests: Callable[[int], int] = lambda _: 12
    broken: Callable[[int], bool] = lambda _: False
    says: float = 0.5
    learns: list[Skill] = field(default_factory=lambda: [Skill(new=0.9)])


class World:
    """`live` days; then look at receipts. All chance comes from `seed`."""

    def __init__(
        self, registry: Registry, players: list[Player], settings: ControllerSettings, seed: int = 1
    ) -> None:
        self.registry = registry
        self.players = {player.name: player for player in players}
        self.settings = settings
        self.metrics = Metrics()
        self.day = 0
        self.now = START
        self.skills: dict[str, Skill] = {}
        self.served: dict[str, Counter[tuple[int, str]]] = {
            name: Counter() for name in self.players
        }
        """By tenant: (month, "requests" or "harmed"): those whom a version in its rollout answered
        wrongly where the live one would have been right."""
        self._random = random.Random(seed)
        self._number = 0
        self._live: dict[str, str | None] = {}
        for number, name in enumerate(self.players):
            self._begin(name, f"{number:x}" * 64)
        self._date_flips()
        self.restart()

    def restart(self) -> None:
        """A new controller, as after a crash."""
        self.controller = Controller(self.registry, self.settings, self.metrics, clock=self._clock)

    def live(self, days: int, each: Callable[[World], None] = lambda _: None) -> None:
        """Let days pass: traffic, the controller's look, the worker's and the swapper's work."""
        for _ in range(days):
            for player in self.players.values():
                self._traffic(player)
            self.now = START + (self.day + 1) * DAY_S
            each(self)
            self.look()
            self._date_flips()
            self._work()
            self._check()
            self.day += 1

    def look(self) -> None:
        """The controller's look at the end of a day."""
        self.controller.tick()

    def receipts(self, tenant: str, *kinds: str) -> list[Decision]:
        """Oldest first; of all kinds if none is named."""
        found = self.registry.decisions.all(tenant)[::-1]
        return [receipt for receipt in found if not kinds or receipt.kind in kinds]

    def days(self, tenant: str, *kinds: str) -> list[int]:
        """On which days receipts of these kinds were left."""
        return [
            round((receipt.created_at - START) / DAY_S) - 1
            for receipt in self.receipts(tenant, *kinds)
        ]

    def gauge(self, name: str, tenant: str) -> float | None:
        """A metric's value as a scrape would show it."""
        return self.metrics.registry.get_sample_value(f"switchyard_{name}", {"tenant": tenant})

    def _clock(self) -> float:
        self.now += 1e-3
        return self.now

    def _begin(self, name: str, digest: str) -> None:
        registry = self.registry
        registry.tenants.create(name, store_text=True)
        registry.adapters.create(name, "support", "tiny")
        registry.aliases.ensure(name, "support", "support")
        file = registry.upload(name, "train.jsonl", _row("old ticket", "billing"))
        job = registry.jobs.enqueue(name, "support", file, trigger="cli")
        assert registry.jobs.lease("worker", only=[job.id]) is not None
        self._publish(name, digest, job.id, Skill())
        registry.jobs.succeed(job.id, "worker", digest)
        registry.versions.certify(digest, {"passed": True})
        registry.aliases.flip(name, "support", digest)

    def _publish(self, name: str, digest: str, job: str, skill: Skill) -> None:
        self.skills[digest] = skill
        parent = self.registry.aliases.get(name, "support").live
        before = self.skills[parent].new if parent else None
        self.registry.versions.publish(
            name,
            "support",
            digest,
            manifest={"base": "tiny"},
            evaluation={
                "n": 100,
                "adapter": {"exact": skill.new},
                "parent": None if before is None else {"exact": before},
            },
            verdict="promote",
            job_id=job,
        )

    def _traffic(self, player: Player) -> None:
        alias = self.registry.aliases.get(player.name, "support")
        count = player.requests(self.day)
        rows: list[Exchange] = []
        words: list[tuple[str, str]] = []
        for number in range(count):
            at = START + (self.day + (number + 0.5) / count) * DAY_S
            rows += self._asked(player, alias, at, words)
        self.registry.exchanges.add(rows)
        for exchange, answer in words:
            said = self.registry.exchanges.give_feedback(player.name, exchange, correction=answer)
            with self.registry.database.write() as session:
                session.merge(said).created_at = self.now

    def _asked(
        self, player: Player, alias: Alias, at: float, words: list[tuple[str, str]]
    ) -> list[Exchange]:
        chance = self._random.random
        new = chance() < player.new(self.day)
        asked = self._random.choice(questions(new, player.broken(self.day)))
        canary = alias.canary is not None and chance() < alias.canary_weight
        digest = alias.canary if canary else alias.live
        assert digest is not None
        luck = chance()
        row, right = self._answered(player, digest, "canary" if canary else "live", new, luck, at)
        row.messages = {"messages": asked.messages}
        row.sketch, row.layout = asked.sketch, asked.layout
        found = [row]
        month = self.day // MONTH
        self.served[player.name][month, "requests"] += 1
        if canary and not right and self._right(player, str(alias.live), new, luck):
            self.served[player.name][month, "harmed"] += 1
        if not right and chance() < player.says:
            words.append((row.id, "smart-home" if new else "billing"))
        if alias.shadow is not None and chance() < alias.shadow_share:
            copy, _ = self._answered(player, alias.shadow, "shadow", new, chance(), at)
            copy.shadow_of = row.id
            found.append(copy)
        return found

    def _right(self, player: Player, digest: str, new: bool, luck: float) -> bool:
        skill = self.skills[digest]
        share = skill.new if new else skill.ordinary
        return luck < (share * (0.2 if player.broken(self.day) else 1.0))

    def _answered(
        self, player: Player, digest: str, role: str, new: bool, luck: float, at: float
    ) -> tuple[Exchange, bool]:
        self._number += 1
        valid = self._random.random() < self.skills[digest].form
        right = valid and self._right(player, digest, new, luck)
        row = Exchange(
            id=f"chatcmpl-{self._number}",
            tenant=player.name,
            alias="support",
            adapter="support",
            digest=digest,
            served="adapter",
            role=role,
            status=200,
            latency_ms=5.0,
            created_at=at,
            valid=valid,
            refused=False,
            answer="billing",
        )
        return row, right

    def _work(self) -> None:
        """Jobs of yesterday are done; those of today are taken."""
        for job in self.registry.jobs.all(active=True):
            player = self.players[job.tenant]
            skill = player.learns.pop(0) if len(player.learns) > 1 else player.learns[0]
            digest = f"{self._random.getrandbits(256):064x}"
            assert self.registry.jobs.lease("worker", only=[job.id]) is not None
            self._publish(job.tenant, digest, job.id, skill)
            self.registry.jobs.succeed(job.id, "worker", digest)

    def _date_flips(self) -> None:
        """An alias says when it was moved: by the world's time."""
        for alias in self.registry.aliases.all():
            if self._live.get(alias.tenant) != alias.live:
                self._live[alias.tenant] = alias.live
                with self.registry.database.write() as session:
                    moved = session.get(Alias, (alias.tenant, alias.name))
                    assert moved is not None
                    moved.updated_at = self.now

    def _check(self) -> None:
        """The swapper's part: what is in a rollout passes the engine's check."""
        for version in self.registry.versions.all():
            if version.state in ("shadow", "canary") and not version.certificate:
                self.registry.versions.certify(version.digest, {"passed": True})


def _row(text: str, answer: str) -> bytes:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": answer},
    ]
    return (json.dumps({"messages": messages}) + "\n").encode()
