"""The demo: what its steps do, in the order in which they are told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli import lineage
from cli.demo import cast, exam, lessons, outage, shift, swap
from cli.demo.cast import ACME, EVERYBODY, LEX, SOLO
from cli.demo.client import Reply, ask, connect
from cli.demo.crowd import Part
from cli.demo.exam import Paper
from cli.demo.stage import Stage
from cli.demo.story import Story

TARGETS = {"acme": 0.90, "lex": 0.85}
BASE_AT_MOST = 0.20
SHOTS = 6
TRAINED = (ACME, LEX)
SECOND = {"seed": 7, "epochs": 2.0}
"""Of acme's second version: another one is what it takes here, not a better one."""


@dataclass
class Show:
    """Holds what one step leaves for the next."""

    stage: Stage
    story: Story
    examples: Path
    rows: int = 150
    clients: int = 12
    training: dict[str, Any] = field(default_factory=dict)
    """Options of the tenants' jobs; the environment of a slower machine may want fewer epochs."""
    keys: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)

    def tell(self) -> None:
        """All steps. Raises StepFailed."""
        for name, title, act in (
            ("platform", "Start the platform: engine, router, worker, controller", self.start),
            ("tenants", "Three tenants, a key each", self.tenants),
            ("train", "Train acme and lex (while vLLM starts)", self.train),
            ("swap", "The candidates are checked and go live", self.go_live),
            ("accuracy", "Held-out questions, through the router by the openai SDK", self.exams),
            ("identity", "The same prompt as each tenant", self.same_prompt),
            ("swap-under-load", "A second version goes in under load", self.swap_under_load),
            ("outage", "kill -9 vLLM under load", self.kill_engine),
            ("drift", "acme's traffic shifts; nobody types a command", self.drift),
        ):
            self.story.step(name, title, act)

    def start(self) -> None:
        """The platform comes up; vLLM takes the longest, and nobody waits for it here."""
        self.stage.open()
        up = self.stage.processes
        self.stage.wait("the processes", lambda: len(up()) == 5, 60.0)
        for name, process in up().items():
            self.story.say(f"  {name:10} pid {process['pid']}")
        self.story.say(f"  router at {self.stage.url}/v1, logs in {self.stage.home.logs}")

    def tenants(self) -> None:
        """acme, lex and solo."""
        self.keys = cast.ensure(self.stage.home, self.stage.registry, self.examples)
        for member in EVERYBODY:
            what = f"adapter {member.adapter} ({member.kind})" if member.adapter else "no adapter"
            self.story.say(f"  {member.name:6} {self.keys[member.name][:10]}…  {what}")

    def train(self) -> None:
        """Both tenants' jobs, side by side in two workers."""
        for member in TRAINED:
            for line in lessons.bad_rows(self.examples / member.name / "train.jsonl"):
                self.story.say(f"  [yellow]{member.name}: left out {_plain(line)}[/]")
            self.jobs[member.name] = lessons.submit(
                self.stage, member, self.examples, self.training
            )
        lessons.wait(self.stage, self.story, list(self.jobs.values()), timeout=900.0)
        for job_id in self.jobs.values():
            self.story.say(f"  {_plain(lessons.summary(self.stage, job_id))}")

    def go_live(self) -> None:
        """The engine is ready, effect and parity were checked, the aliases are flipped."""
        registry = self.stage.registry
        waited = self.stage.wait("a ready engine", lambda: bool(registry.engines.ready()), 600.0)
        self.story.say(f"  waited {waited:.1f} s more for vLLM")

        def live() -> bool:
            for member in TRAINED:
                for version in registry.versions.all(member.name, state="rejected"):
                    reason = lineage.summary(version.reasons)
                    raise self.story.fail(f"{version.served_name} was rejected: {reason}")
            return all(
                registry.aliases.get(member.name, str(member.adapter)).live for member in TRAINED
            )

        self.stage.wait("both aliases live", live, 120.0)
        for member in TRAINED:
            alias = registry.aliases.get(member.name, str(member.adapter))
            version = registry.versions.get(str(alias.live))
            parity, effect = swap.certified(version.certificate)
            self.story.say(
                f"  {member.name:6} {version.served_name} is live: parity {parity}, effect {effect}"
            )
        self._await_served()
        # The next version is trained while the questions are asked, and waits for a word of ours.
        registry.tenants.update(ACME.name, auto_promote=False)
        options = {**self.training, **SECOND}
        self.jobs["second"] = lessons.submit(self.stage, ACME, self.examples, options)

    def exams(self) -> None:
        """Base, few-shot base and adapter, for both tenants; the base for solo."""
        base = self.stage.registry.engines.ready()[0].base
        table: list[list[str]] = []
        figures: dict[str, Any] = {}
        for member in TRAINED:
            folder = self.examples / member.name
            schema = folder / "schema.json"
            paper = Paper.of(
                member, folder / "heldout.jsonl", self.rows, schema if schema.is_file() else None
            )
            shots = exam.shots(folder / "train.jsonl", SHOTS)
            results = {}
            for name, model, questions in (
                ("base", base, paper),
                (f"base, {SHOTS} examples", base, paper.with_shots(shots)),
                ("adapter", str(member.adapter), paper),
            ):
                result = exam.sit(
                    self.stage.url, self.keys[member.name], model, questions, self.clients
                )
                results[name] = result
                table.append(
                    [
                        member.name,
                        name,
                        f"{result.exact:.1%}",
                        str(result.n),
                        f"{result.p50_ms:.0f}",
                        f"{result.tokens_per_s:.0f}",
                    ]
                )
            figures[member.name] = {name: result.json() for name, result in results.items()}
        columns = ["tenant", "who answers", "exact", "rows", "p50 ms", "tokens/s"]
        self.story.table(columns, table)
        self.story.figures["accuracy"] = figures
        for member in TRAINED:
            found = figures[member.name]
            target = TARGETS[member.name]
            exact, of_base = found["adapter"]["exact"], found["base"]["exact"]
            self.story.check(
                f"{member.name}: at least {target:.0%} exact", exact >= target, f"{exact:.1%}"
            )
            self.story.check(
                f"{member.name}: the base at most {BASE_AT_MOST:.0%}",
                of_base <= BASE_AT_MOST,
                f"{of_base:.1%}",
            )

    def same_prompt(self) -> None:
        """One question, three tenants, three ways to be answered."""
        prompt = Paper.of(ACME, self.examples / "acme" / "heldout.jsonl", 1).questions[0]
        self.story.say(f"  “{_plain(prompt[-1]['content'])}”")
        table = []
        for member in EVERYBODY:
            reply = asyncio.run(self._one(member.name, self._model(member), prompt))
            if not reply.good:
                raise self.story.fail(f"{member.name}: status {reply.status}: {reply.error}")
            table.append([member.name, self._model(member), reply.version, reply.text.strip()])
        self.story.table(["tenant", "asked", "x-switchyard-version", "answer"], table)

    def swap_under_load(self) -> None:
        """Eight clients and more ask without pause while acme's second version goes in."""
        lessons.wait(self.stage, self.story, [self.jobs["second"]], timeout=900.0)
        self.story.say(f"  {_plain(lessons.summary(self.stage, self.jobs['second']))}")
        swap.under_load(self.stage, self.story, self._parts(), self.jobs["second"])
        self.stage.registry.tenants.update(ACME.name, auto_promote=True)

    def kill_engine(self) -> None:
        """The kernel takes vLLM away; the router answers for it; it comes back by itself."""
        outage.endure(self.stage, self.story, self._parts())
        self._await_served()

    def drift(self) -> None:
        """New product line, two new labels: drift, corrections, retraining, gate, swap."""
        shift.tell(self.stage, self.story, self.keys[ACME.name], self.examples, self.clients)

    def _parts(self) -> list[Part]:
        """The crowd: half acme, a third lex, the rest solo."""
        prompts = {
            "acme": Paper.of(ACME, self.examples / "acme" / "heldout.jsonl", 400).questions,
            "lex": Paper.of(LEX, self.examples / "lex" / "heldout.jsonl", 400).questions,
            "solo": [tuple(row) for row in cast.rows(self.examples / "solo" / "prompts.jsonl")],
        }
        members = [ACME, LEX, ACME, SOLO, ACME, LEX]
        return [
            Part(
                member.name,
                self.keys[member.name],
                self._model(member),
                prompts[member.name],
                exam.MAX_TOKENS[member.kind],
            )
            for member in (members[n % len(members)] for n in range(max(8, self.clients)))
        ]

    def _model(self, member: cast.Member) -> str:
        return member.adapter or self.stage.registry.engines.all()[0].base

    async def _one(self, tenant: str, model: str, prompt: Any) -> Reply:
        async with connect(self.stage.url, self.keys[tenant]) as client:
            return await ask(client, tenant, model, prompt, max_tokens=48)

    def _await_served(self) -> None:
        """Until both tenants are answered by their adapters, seen as they see it."""
        for member in TRAINED:
            # One of its own prompts: also these count for what the drift detector sees.
            path = self.examples / member.name / "heldout.jsonl"
            prompt = Paper.of(member, path, 1).questions[0]
            deadline = time.monotonic() + 120
            while True:
                reply = asyncio.run(self._one(member.name, str(member.adapter), prompt))
                if reply.good and reply.version.startswith(f"{member.adapter}@"):
                    break
                if time.monotonic() > deadline:
                    raise self.story.fail(
                        f"{member.name} is still answered by {reply.version or reply.status} "
                        f"({reply.fallback or reply.error})"
                    )
                time.sleep(0.25)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
