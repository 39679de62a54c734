"""Real vLLM, real PEFT adapters: what the fakes can't vouch for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from monitoring.meaning import Meaning
from monitoring.metrics import Metrics
from registry.fingerprint import base_fingerprint
from registry.names import served_name
from registry.versions import Version
from serve.client import AdapterUnavailable, EngineClient
from serve.meanings import make
from serve.swap import Swapper
from tests.real_engine import make_adapter, misname_modules
from tests.serve.conftest import Real
from tests.serve.making import KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


async def swapped(real: Real, folder: Path) -> Version:
    """Publish a folder as a candidate and let the swapper have it."""
    digest = real.registry.store.publish(folder)
    real.registry.versions.publish(
        "acme", "triage", digest, manifest={}, evaluation={}, verdict="promote"
    )
    return await ticked(real, digest)


async def ticked(real: Real, digest: str, clock: Callable[[], float] = time.time) -> Version:
    swapper = Swapper(real.registry, real.swap, Metrics(), clock=clock)
    await swapper.tick()
    await swapper.shutdown()
    return real.registry.versions.get(digest)


def why(version: Version) -> str:
    return str(version.reasons["rejected_because"])


async def test_an_adapter_is_found_by_name_and_computes_what_peft_computed(real: Real) -> None:
    version = await swapped(real, real.good)

    assert version.state == "live", version.reasons
    (figures,) = version.certificate["engines"].values()
    assert figures["parity_mean"] < 1e-4  # float32 on both sides
    assert figures["effect_mean"] > 0.5
    assert real.registry.aliases.get("acme", "triage").live == version.digest

    later = await ticked(real, version.digest, clock=lambda: time.time() + 2 * real.swap.recheck_s)
    assert later.certificate["again"]["passed"], "asked again, it computes the same"
    assert later.certificate["again"]["engines"].keys() == version.certificate["engines"].keys()


async def test_the_load_log_has_each_read_and_each_slot_filled(real: Real) -> None:
    """What the benchmarks count: four slots, so the fifth adapter takes one, and the first has to
    come back; all stay in host memory, so nothing is read twice."""
    folders = [make_adapter(real.base, real.folder / f"slot-{n}", seed=40 + n) for n in range(5)]
    names = [served_name("triage", real.registry.store.publish(folder)) for folder in folders]
    async with EngineClient(real.engine.url, KEY) as client:
        for name in [*names, names[4], names[0]]:
            await client.logprobs(name, list(range(3, 20)), 5)

    lines = (real.folder / "loads").read_text().splitlines()
    seen = {name: [line.split()[0] for line in lines if line.endswith(name)] for name in names}
    assert seen == {
        names[0]: ["read", "slot", "slot"],
        **{name: ["read", "slot"] for name in names[1:]},
    }


async def test_probes_and_other_requests_share_a_batch_unharmed(real: Real) -> None:
    """LoRA on lm_head would make vLLM's engine core die here (vllm issue 16668)."""
    name = served_name("triage", real.registry.store.publish(real.good))
    async with EngineClient(real.engine.url, KEY) as client:
        alone = await client.logprobs(name, list(range(3, 40)), 5)
        base = await client.logprobs(real.base.name, list(range(3, 40)), 5)
        together = await asyncio.gather(
            *(client.logprobs(model, list(range(3, 40)), 5) for model in (name, real.base.name) * 8)
        )

    for number, figures in enumerate(together):
        assert figures == pytest.approx(base if number % 2 else alone, abs=1e-3)


def test_a_ready_engine_says_what_its_bases_words_mean(real: Real) -> None:
    engines = real.registry.engines
    real.engine.wait_until(lambda: engines.meaning(real.base.name) is not None, "told", 60)
    digest = engines.meaning(real.base.name)
    assert digest is not None
    assert Meaning.load(real.registry.store.blob(digest)).mark == make(real.base).mark


async def test_an_adapter_without_effect_is_rejected(real: Real) -> None:
    version = await swapped(real, make_adapter(real.base, real.folder / "zero", scale=0, seed=2))

    assert version.state == "rejected"
    assert "does nothing" in why(version)


async def test_an_adapter_whose_modules_match_nothing_is_rejected(real: Real) -> None:
    folder = make_adapter(real.base, real.folder / "misnamed", seed=3)
    misname_modules(folder)

    version = await swapped(real, folder)

    assert version.state == "rejected"
    assert "ignores the adapter" in why(version) or "could not be loaded" in why(version)


async def test_another_adapters_figures_are_rejected(real: Real) -> None:
    folder = make_adapter(real.base, real.folder / "mixed", seed=4)
    (folder / "probes.json").write_bytes((real.good / "probes.json").read_bytes())

    version = await swapped(real, folder)

    assert "disagree with the adapter" in why(version)


async def test_the_base_stays_the_base_when_every_slot_holds_an_adapter(real: Real) -> None:
    """vLLM's CPU code gave rows of the base, in a mixed batch, the last slot's adapter."""
    store = real.registry.store
    slots = real.engine.settings.max_loras
    folders = [
        make_adapter(real.base, real.folder / f"slot-{n}", seed=20 + n) for n in range(slots)
    ]
    names = [served_name("triage", store.publish(folder)) for folder in folders]
    ids = list(range(3, 40))

    async with EngineClient(real.engine.url, KEY) as client:
        for name in names:
            await client.warm(name)
        alone = await client.logprobs(real.base.name, ids, 5)
        together = await asyncio.gather(
            *(client.logprobs(model, ids, 5) for model in (names[0], real.base.name) * 8)
        )

    for figures in together[1::2]:
        assert figures == pytest.approx(alone, abs=1e-3)


async def test_a_rank_above_the_engines_is_rejected(real: Real) -> None:
    version = await swapped(real, make_adapter(real.base, real.folder / "wide", rank=32, seed=5))

    assert "rank 32 is above this engine's 16" in why(version)


async def test_the_engine_itself_refuses_rank_base_and_rot(real: Real) -> None:
    """The resolver stands alone: an engine may be asked by anything that has its key."""
    store = real.registry.store
    wide = make_adapter(real.base, real.folder / "wide-2", rank=32, seed=6)
    foreign = make_adapter(
        real.base, real.folder / "foreign", seed=7, manifest={"tokenizer_sha256": "0" * 64}
    )
    rotten = make_adapter(real.base, real.folder / "rotten", seed=8)
    names = [served_name("triage", store.publish(f)) for f in (wide, foreign, rotten)]
    _rot(real, names[2])

    async with EngineClient(real.engine.url, KEY) as client:
        for name in (*names, "triage@ffffffffffff", "stranger"):
            with pytest.raises(AdapterUnavailable):
                await client.warm(name)
        assert await client.healthy()
    log = real.engine.settings.log_file.read_text(errors="replace")
    for reason in (
        "rank 32 is above this engine's 16",
        "another base (tiny): tokenizer_sha256 differ",
        "adapter_model.safetensors is corrupted",
        "no content ffffffffffff",
        "adapter 'stranger' refused: it is not a served name",
    ):
        assert log.count(reason) == 1, reason


async def test_an_adapter_for_another_base_is_rejected(real: Real) -> None:
    other = {**base_fingerprint(real.base), "base_config_sha256": "0" * 64, "base": "big"}
    version = await swapped(
        real, make_adapter(real.base, real.folder / "other", seed=9, manifest=other)
    )

    assert version.state == "rejected"
    assert "engine-0 does not load it" in why(version)


async def test_a_corrupted_file_is_named(real: Real) -> None:
    folder = make_adapter(real.base, real.folder / "rotten-2", seed=10)
    digest = real.registry.store.publish(folder)
    _rot(real, served_name("triage", digest))

    version = await swapped(real, folder)

    assert "adapter_model.safetensors is corrupted" in why(version)


async def test_a_killed_engine_comes_back_with_what_is_live_and_leaves_no_orphan(
    real: Real,
) -> None:
    good = await swapped(real, real.good)
    pid = real.engine.supervisor.pid
    assert pid is not None
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert any("EngineCore" in process.name() for process in family)
    spawned = real.engine.supervisor.starts

    os.kill(pid, signal.SIGKILL)

    real.engine.wait_until(lambda: not real.engine.ready(), "down", 10)
    real.engine.wait_until(lambda: not any(map(_alive, family)), "without orphans", 10)
    real.engine.wait_until(real.engine.ready, "ready again", 500)
    assert real.engine.supervisor.starts == spawned + 1
    assert real.registry.engines.placements(good.digest) == []

    await ticked(real, good.digest)

    (placement,) = real.registry.engines.placements(good.digest)
    assert placement.state == "warm"


def _rot(real: Real, name: str) -> None:
    """Change one byte of a published adapter's weights."""
    prefix = name.rpartition("@")[2]
    (file,) = (real.folder / "store" / "adapters").glob(f"{prefix}*/adapter_model.safetensors")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert json.loads((file.parent / "MANIFEST.json").read_bytes())


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
