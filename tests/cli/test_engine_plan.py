"""`switchyard engine plan` on a real registry and the shipped base."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import engine_plan, room_settings
from cli.home import Home
from registry import Registry
from registry.database import now
from registry.exchanges import Exchange

GOLDEN = Path(__file__).with_name("plan.txt")
BASE = "switchyard-tiny"


def publish(registry: Registry, tenant: str, rank: int) -> str:
    """A tenant with one live version; its digest."""
    registry.tenants.create(tenant)
    registry.adapters.create(tenant, "triage", BASE)
    digest = hashlib.sha256(tenant.encode()).hexdigest()
    registry.versions.publish(
        tenant,
        "triage",
        digest,
        manifest={"base": BASE, "rank": rank},
        evaluation={},
        verdict="promote",
    )
    registry.aliases.ensure(tenant, "triage", "triage")
    registry.aliases.flip(tenant, "triage", digest)
    return digest


def exchange(number: int, tenant: str, digest: str | None, at: float, tokens: int) -> Exchange:
    return Exchange(
        id=f"chatcmpl-{number}",
        tenant=tenant,
        digest=digest,
        served="adapter" if digest else "base",
        status=200,
        created_at=at,
        latency_ms=5.0,
        prompt_tokens=tokens,
        completion_tokens=10,
    )


def test_what_it_prints(switchyard: Any, home_registry: Registry) -> None:
    for number in range(12):
        publish(home_registry, f"tenant-{number:02}", 64 if number == 3 else 8)

    said = switchyard("engine", "plan", "--memory-gib", "4").stdout

    assert said == GOLDEN.read_text()


def test_the_working_set_is_what_the_busiest_minute_asked_for(
    switchyard: Any, home_registry: Registry
) -> None:
    digests = {name: publish(home_registry, name, 8) for name in ("a", "b", "c", "d")}
    minute = now() // 60 * 60 - 600
    rows = [exchange(n, name, digests[name], minute + n, 100) for n, name in enumerate("aabbc")]
    rows += [exchange(10, "d", digests["d"], minute + 120, 100)]
    rows += [exchange(11, "d", None, minute + 1, 100)]  # the base needs no slot
    home_registry.exchanges.add(rows)

    found = switchyard.json("engine", "plan", "--memory-gib", "4")

    assert found["settings"]["max_loras"] == 4  # a, b and c, and one to spare
    assert found["why"]["max_loras"].startswith("3 adapters in the busiest minute of the last 24 h")
    assert found["settings"]["max_cpu_loras"] == 5
    assert "110 tokens" in found["why"]["max_num_seqs"]


def test_traffic_from_before_the_hours_looked_at_does_not_count(
    switchyard: Any, home_registry: Registry
) -> None:
    digest = publish(home_registry, "a", 8)
    publish(home_registry, "b", 8)
    home_registry.exchanges.add([exchange(1, "a", digest, now() - 7200, 100)])

    found = switchyard.json("engine", "plan", "--memory-gib", "4", "--hours", "1")

    assert found["why"]["max_loras"].startswith("2 live versions (there was no traffic yet")


def test_an_expected_working_set_wins_over_traffic(
    switchyard: Any, home_registry: Registry
) -> None:
    publish(home_registry, "a", 8)

    found = switchyard.json("engine", "plan", "--memory-gib", "4", "--working-set", "40")

    assert found["settings"]["max_loras"] == 41


def test_what_does_not_fit_ends_with_1(switchyard: Any, home_registry: Registry) -> None:
    publish(home_registry, "a", 8)

    result = switchyard("engine", "plan", "--memory-gib", "2", code=1)

    assert "DOES NOT FIT" in result.stdout


def test_a_gpu_that_is_not_here_is_asked_for(
    switchyard: Any, home_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_ENGINE_DEVICE", "cuda")
    monkeypatch.setenv("PATH", "/nonexistent")

    assert "--memory-gib" in switchyard("engine", "plan", code=1).stderr
    found = switchyard.json("engine", "plan", "--memory-gib", "24")
    assert "kv_cache_gib" not in found["settings"]


def test_an_engine_told_to_plan_starts_with_the_plans_slots(
    home: Home, home_registry: Registry
) -> None:
    for number in range(3):
        publish(home_registry, f"tenant-{number}", 32)
    planning = Home(
        home.folder,
        {"SWITCHYARD_ENGINE_PLAN": "true", "SWITCHYARD_ENGINE_MEMORY_GIB": "4"},
    )
    settings = room_settings.engine(planning)

    planned = engine_plan.at_start(home_registry, settings)

    assert settings.plan
    assert (planned.max_loras, planned.max_lora_rank, planned.max_cpu_loras) == (4, 32, 4)
    assert planned.max_num_seqs == settings.max_num_seqs


def test_plans_are_for_this_engines_base(
    switchyard: Callable[..., Any], home_registry: Registry
) -> None:
    publish(home_registry, "a", 8)
    home_registry.tenants.create("b")
    home_registry.adapters.create("b", "triage", "another-base")
    home_registry.versions.publish(
        "b",
        "triage",
        "f" * 64,
        manifest={"base": "another-base", "rank": 128},
        evaluation={},
        verdict="promote",
    )

    said = switchyard("engine", "plan", "--memory-gib", "4").stdout

    assert "MAX_LORA_RANK=8 " in said
