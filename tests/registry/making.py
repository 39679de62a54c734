"""Rows that many of the registry's tests begin with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from registry import Registry
from registry.exchanges import Exchange
from registry.versions import Version


def digest_of(seed: object) -> str:
    """64 hex digits, the same for the same seed."""
    return hashlib.sha256(repr(seed).encode()).hexdigest()


def make_adapter(registry: Registry, tenant: str = "acme", adapter: str = "tickets") -> None:
    """A tenant, an adapter of its own and an alias of the same name."""
    registry.tenants.create(tenant)
    registry.adapters.create(tenant, adapter, "switchyard-tiny")
    registry.aliases.ensure(tenant, adapter, adapter)


def make_version(
    registry: Registry, seed: object, tenant: str = "acme", adapter: str = "tickets"
) -> Version:
    """A candidate whose digest follows from the seed."""
    return registry.versions.publish(
        tenant,
        adapter,
        digest_of(seed),
        manifest={"rank": 8, "base": "switchyard-tiny"},
        evaluation={"kind": "label", "n": 100, "adapter": {"exact": 0.97}},
        verdict="promote",
    )


def make_job(registry: Registry, key: str | None = None, tenant: str = "acme") -> str:
    """A job that waits; its id."""
    return registry.jobs.enqueue(tenant, "tickets", "file-1", idempotency_key=key).id


def make_exchange(
    number: int, tenant: str = "acme", text: str | None = None, created_at: float = 1000.0
) -> Exchange:
    """A served request; with text if the tenant had opted in."""
    return Exchange(
        id=f"chatcmpl-{tenant}-{number}",
        tenant=tenant,
        alias="tickets",
        adapter="tickets",
        digest=digest_of(1),
        served="adapter",
        status=200,
        created_at=created_at + number,
        latency_ms=12.5,
        sketch=b"\x00\x01",
        messages=None if text is None else {"messages": [{"role": "user", "content": text}]},
        answer=None if text is None else "billing",
    )


def make_folder(folder: Path, content: bytes = b"weights") -> Path:
    """A small adapter folder, with a file in a folder of its own."""
    (folder / "sub").mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(content * 1000)
    (folder / "sub" / "probes.json").write_text("{}")
    return folder
