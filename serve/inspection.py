"""Looking at a candidate: what its files say, and what an engine says about its probes.

Between the pure rules (certificate.py) and the swap, which decides what follows. Knows the store
and an engine's client; nothing about aliases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.engines import Engine
from registry.errors import ContentCorrupted, ContentMissing
from registry.fingerprint import base_fingerprint
from registry.store import Store
from registry.versions import Version
from serve.certificate import (
    Certificate,
    Measured,
    Probe,
    ProbesInvalid,
    Tolerance,
    certify,
    read_probes,
)
from serve.client import EngineClient
from serve.resolver import AdapterRefused, check_adapter, read_manifest
from serve.settings import SwapSettings

PROBES = "probes.json"
MAX_PROBES = 64
"""More would cost the engine's tenants time and add nothing to the mean."""


class Rejected(Exception):
    """The version itself is at fault, by `rule`; trying again would not help."""

    def __init__(self, rule: str, why: str, figures: dict[str, Any] | None = None) -> None:
        super().__init__(why)
        self.rule = rule
        self.figures = figures or {}


class Transient(Exception):
    """Nothing is wrong with the version: try again at the next tick."""


@dataclass(frozen=True)
class Subject:
    """A candidate whose files are whole and fit the engines."""

    folder: Path
    probes: list[Probe]


def inspect(
    store: Store, version: Version, settings: SwapSettings, engines: Sequence[Engine]
) -> Subject:
    """Stage the files and read them. Blocks. Raises Rejected, Transient."""
    try:
        folder = store.fetch(version.digest, settings.staging)
        manifest = read_manifest(folder)
        owner = (manifest.get("tenant"), manifest.get("adapter"))
        if owner != (version.tenant, version.adapter):
            raise Rejected(
                "content",
                f"its manifest names {owner[0]}/{owner[1]}, it is filed under "
                f"{version.tenant}/{version.adapter}",
            )
        rank = min(engine.max_lora_rank for engine in engines)
        base = base_fingerprint(settings.base) if settings.base else None
        check_adapter(folder, base, rank)
        return Subject(folder, read_probes((folder / PROBES).read_bytes())[:MAX_PROBES])
    except (ContentCorrupted, ContentMissing, AdapterRefused, ProbesInvalid) as error:
        raise Rejected("content", str(error)) from None
    except FileNotFoundError as error:
        raise Rejected("content", f"a file is missing: {error}") from None
    except OSError as error:
        raise Transient(f"the store or the staging folder can't be used: {error}") from None


async def measure(
    client: EngineClient, base: str, name: str, subject: Subject, settings: SwapSettings
) -> Certificate:
    """Ask an engine about every probe and compare. Raises EngineFault."""
    gate = asyncio.Semaphore(settings.concurrency)

    async def one(probe: Probe) -> Measured:
        async with gate:
            return Measured(
                adapter=await client.logprobs(name, probe.token_ids, probe.prompt_length),
                base=await client.logprobs(base, probe.token_ids, probe.prompt_length),
                prompt_ids=await client.tokenize(probe.question),
            )

    measured = await _all([one(probe) for probe in subject.probes])
    tolerance = Tolerance(
        parity_mean=settings.parity_mean,
        parity_max=settings.parity_max,
        effect_mean=settings.effect_mean,
        min_probes=settings.min_probes,
    )
    return certify(subject.probes, measured, tolerance)


def name_refusal(store: Store, version: Version, said: str) -> str:
    """Why an engine refused a version, as far as the store can tell. Blocks.

    An engine answers 404 or 400 and keeps the reason in its log.
    """
    try:
        for name in store.files(version.digest):
            store.read(version.digest, name)
    except (ContentCorrupted, ContentMissing) as error:
        return str(error)
    base = version.manifest.get("base", "an unnamed base")
    return (
        f"{said} (its files are whole; it was trained for {base}, rank "
        f"{version.manifest.get('rank')}; the engine's log has the reason)"
    )


async def _all(calls: list[Coroutine[Any, Any, Measured]]) -> list[Measured]:
    """Results in order; the first error ends them all."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
