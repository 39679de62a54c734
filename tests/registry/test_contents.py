"""What is deleted leaves the store too, and nothing goes that anybody still refers to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import JSON, LargeBinary, String

from registry import Registry
from registry.contents import KEEPS, MENTIONS, Content
from registry.database import Base
from registry.errors import ContentMissing
from tests.registry.making import make_adapter, make_folder, make_job

SECRET = b'{"messages": "PATIENT RECORD 42"}\n'
NO_DIGESTS = {
    "adapters": {"tenant", "name", "base", "answers", "training"},
    "aliases": {"tenant", "name", "adapter", "sticky", "fallback"},
    "api_keys": {"id", "tenant", "name", "hash", "hint"},
    "checkpoints": {"id", "job_id", "metrics"},
    "decisions": {
        "id", "tenant", "adapter", "kind", "rule", "by", "job_id", "evidence", "expected",
        "realised",
    },
    "drift_states": {"tenant", "adapter", "state", "arrays"},
    "engines": {"id", "url", "base", "state"},
    "exchanges": {
        "id", "tenant", "alias", "adapter", "served", "fallback", "role", "shadow_of", "engine_id",
        "finish_reason", "client", "sketch", "messages", "answer",
    },
    "feedback": {
        "id", "exchange_id", "tenant", "adapter", "label", "correction", "messages", "used_in_job",
    },
    "files": {"id", "tenant", "purpose", "filename"},
    "job_events": {"id", "job_id", "level", "message", "kind", "data"},
    "jobs": {
        "id", "tenant", "adapter", "state", "trigger", "request", "idempotency_key",
        "training_file", "validation_file", "spec", "progress", "result", "error", "lease_owner",
        "result_files",
    },
    "placements": {"engine_id", "state", "reason"},
    "revisions": {"name"},
    "rooms": {"name", "settings"},
    "tenants": {"name", "default_alias", "rollout", "cache_salt"},
    "versions": {
        "tenant", "adapter", "served_name", "state", "job_id", "manifest", "evaluation", "verdict",
        "reasons", "certificate",
    },
}  # fmt: skip


def files_with(registry: Registry, text: bytes) -> list[Path]:
    """What in the store holds this text."""
    root = Path(registry.store.url.removeprefix("file://"))
    return [path for path in root.rglob("*") if path.is_file() and text in path.read_bytes()]


def age(registry: Registry, days: float = 2.0) -> None:
    """Let all that is in the store look as if it were put there so long ago."""
    at = time.time() - days * 86400
    for path in Path(registry.store.url.removeprefix("file://")).rglob("*"):
        os.utime(path, (at, at))


def sweep(registry: Registry) -> int:
    """What the controller does every hour."""
    return registry.contents.sweep(time.time() - 86400)


def publish(registry: Registry, folder: Path, tenant: str = "acme") -> str:
    """A version of the tenant's whose files are in the store; its digest."""
    digest = registry.store.publish(folder)
    registry.versions.publish(
        tenant, "tickets", digest, manifest={}, evaluation={}, verdict="promote"
    )
    return digest


def test_every_column_that_may_hold_a_digest_says_what_it_keeps() -> None:
    known = {(kept.table, kept.column) for kept in KEEPS} | {*MENTIONS}
    found = {
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | JSON | LargeBinary)
        and column.name not in NO_DIGESTS.get(table.name, ())
    }
    assert found == known, "a new column: put it into registry/contents.py, or up there"
    owned = {kept.table for kept in KEEPS if kept.owned}
    assert owned == {
        kept.table for kept in KEEPS if "tenant" in Base.metadata.tables[kept.table].columns
    }


def test_a_deleted_tenant_leaves_nothing_in_the_store(registry: Registry, tmp_path: Path) -> None:
    make_adapter(registry)
    registry.upload("acme", "secret.jsonl", SECRET)
    version = publish(registry, make_folder(tmp_path / "adapter", SECRET))
    registry.jobs.add_checkpoint(make_job(registry), 1, {}, version)
    job = registry.jobs.lease("worker")
    assert job is not None
    state = make_folder(tmp_path / "state", SECRET + b"state")
    registry.jobs.keep_state(job.id, "worker", registry.store.publish(state))
    assert len(files_with(registry, b"PATIENT")) == 3
    registry.tenants.delete("acme")
    assert files_with(registry, b"") == []


def test_a_deleted_tenant_takes_nothing_of_anybody_elses(
    registry: Registry, tmp_path: Path
) -> None:
    for tenant in ("acme", "lex"):
        make_adapter(registry, tenant)
        registry.upload(tenant, "same.jsonl", SECRET)
    theirs = publish(registry, make_folder(tmp_path / "lex", b"theirs"), "lex")
    job = make_job(registry, tenant="acme")
    registry.jobs.add_checkpoint(job, 1, {}, theirs)
    meaning = registry.store.put_blob(b"what words mean")
    registry.engines.register("e1", "http://e", "base", max_loras=4, max_lora_rank=8)
    registry.engines.set_meaning("base", meaning)
    registry.upload("acme", "table.bin", b"what words mean")
    registry.tenants.delete("acme")
    assert len(files_with(registry, SECRET)) == 1
    assert registry.store.blob(meaning) == b"what words mean"
    assert registry.store.read(theirs, "adapter_config.json")


def test_a_file_s_bytes_go_with_the_last_file_that_has_them(registry: Registry) -> None:
    registry.tenants.create("acme")
    first, second = (registry.upload("acme", name, SECRET) for name in ("a.jsonl", "b.jsonl"))
    registry.files.delete("acme", first)
    assert registry.content("acme", second) == SECRET
    registry.files.delete("acme", second)
    assert files_with(registry, SECRET) == []


def test_bytes_that_are_deleted_while_they_are_uploaded_again_are_there_afterwards(
    sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_registry.tenants.create("acme")
    old = sqlite_registry.upload("acme", "a.jsonl", SECRET)
    add = sqlite_registry.files.add

    def late(*args: object) -> object:
        sqlite_registry.files.delete("acme", old)
        return add(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_registry.files, "add", late)
    new = sqlite_registry.upload("acme", "b.jsonl", SECRET)
    assert sqlite_registry.content("acme", new) == SECRET


def test_what_cannot_be_taken_out_now_is_swept_later(
    sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_registry.tenants.create("acme")
    file_id = sqlite_registry.upload("acme", "a.jsonl", SECRET)

    def away(digest: str) -> None:
        raise OSError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_registry.store, "remove_blob", away)
        sqlite_registry.files.delete("acme", file_id)
    assert files_with(sqlite_registry, SECRET)
    sweep(sqlite_registry)
    age(sqlite_registry)
    assert sweep(sqlite_registry) == 1
    assert files_with(sqlite_registry, SECRET) == []


def test_the_sweep_takes_what_no_row_names_once_it_is_a_day_old(
    registry: Registry, tmp_path: Path
) -> None:
    make_adapter(registry)
    kept = publish(registry, make_folder(tmp_path / "kept", b"kept"))
    file_id = registry.upload("acme", "a.jsonl", b"kept")
    orphan = registry.store.put_blob(SECRET)
    stray = registry.store.publish(make_folder(tmp_path / "stray", SECRET))
    scrap = Path(registry.store.url.removeprefix("file://")) / "blobs" / f"{orphan}.1-2.tmp"
    scrap.write_bytes(SECRET)
    assert sweep(registry) == 0
    age(registry)
    fresh = registry.store.put_blob(b"its row is on the way")
    assert sweep(registry) == 3
    assert files_with(registry, b"PATIENT") == []
    with pytest.raises(ContentMissing):
        registry.store.files(stray)
    assert registry.content("acme", file_id) == b"kept"
    assert registry.store.read(kept, "adapter_config.json")
    assert registry.store.blob(fresh)


@pytest.mark.parametrize(
    "refer",
    [
        lambda r, d: r.files.add("acme", "a", d, 1),
        lambda r, d: r.engines.set_meaning("base", d),
    ],
    ids=["file", "meaning"],
)
def test_a_row_that_comes_at_the_last_moment_keeps_its_bytes(
    sqlite_registry: Registry, refer: Callable[[Registry, str], object]
) -> None:
    sqlite_registry.tenants.create("acme")
    sqlite_registry.engines.register("e1", "http://e", "base", max_loras=4, max_lora_rank=8)
    digest = sqlite_registry.store.put_blob(SECRET)
    refer(sqlite_registry, digest)
    assert sqlite_registry.contents.drop([Content("blob", digest)]) == 0
    assert sqlite_registry.store.blob(digest) == SECRET


def test_nothing_is_swept_from_a_store_in_which_another_registry_keeps_things(
    sqlite_registry: Registry, sqlite_template: Path, tmp_path: Path
) -> None:
    sqlite_registry.tenants.create("acme")
    file_id = sqlite_registry.upload("acme", "a.jsonl", b"kept")
    orphan = sqlite_registry.store.put_blob(SECRET)
    sweep(sqlite_registry)
    shutil.copy(sqlite_template, tmp_path / "by-mistake.db")
    other = Registry.open(f"sqlite:///{tmp_path}/by-mistake.db", sqlite_registry.store.url)
    for registry in (other, sqlite_registry, other):
        age(registry)
        assert sweep(registry) == 0
    assert sqlite_registry.content("acme", file_id) == b"kept"
    [mistaken] = {*other.store.claims()} - {sqlite_registry.contents._name()}
    (Path(other.store.url.removeprefix("file://")) / "registries" / mistaken).unlink()
    assert sweep(sqlite_registry) == 1
    assert not sqlite_registry.store.holds_blob(orphan)
    other.close()
