"""Tenants and keys; above all, that a key's secret is kept nowhere."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from registry import Registry
from registry.database import Base
from registry.errors import (
    AlreadyExists,
    InvalidName,
    InvalidTransition,
    InvalidValue,
    NotFound,
    RegistryError,
)
from registry.tenants import hash_key
from tests.registry.making import make_adapter, make_exchange, make_job, make_version


def test_a_key_is_shown_once_and_known_by_its_hash(registry: Registry) -> None:
    registry.tenants.create("acme")
    key = registry.tenants.create_key("acme", "laptop")
    assert key.secret.startswith("sk-sy-")
    assert len(key.secret) == len("sk-sy-") + 40
    [row] = registry.tenants.keys("acme")
    assert (row.id, row.name, row.hint) == (key.id, "laptop", key.hint)
    assert row.hash == hash_key(key.secret)
    assert registry.snapshot().keys[hash_key(key.secret)].tenant == "acme"


def test_the_hint_gives_away_too_little_to_guess_the_key(registry: Registry) -> None:
    registry.tenants.create("acme")
    key = registry.tenants.create_key("acme")
    shown = key.hint.replace("…", "").removeprefix("sk-sy-")
    assert len(shown) <= 8, "of 40 random digits at most 8 may be shown"
    assert key.secret not in key.hint


def test_the_secret_is_not_in_the_databases_files(
    sqlite_registry: Registry, tmp_path: Path
) -> None:
    sqlite_registry.tenants.create("acme")
    secrets = [sqlite_registry.tenants.create_key("acme").secret for _ in range(5)]
    found = 0
    for path in tmp_path.glob("registry.db*"):  # the write-ahead log too
        raw = path.read_bytes()
        found += hash_key(secrets[0]).encode() in raw
        for secret in secrets:
            assert secret.encode() not in raw, path.name
            assert secret.removeprefix("sk-sy-").encode() not in raw, path.name
    assert found, "the hash is there, so this looked in the right place"


def test_the_secret_is_in_no_column_of_any_table(registry: Registry) -> None:
    registry.tenants.create("acme")
    key = registry.tenants.create_key("acme")
    with registry.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(text(f"SELECT * FROM {table.name}")):
                assert key.secret not in repr(row), table.name


def test_a_revoked_key_is_gone_from_the_next_snapshot(registry: Registry) -> None:
    registry.tenants.create("acme")
    key = registry.tenants.create_key("acme")
    before = registry.revision()
    registry.tenants.revoke_key(key.id)
    assert registry.revision() > before
    assert registry.snapshot().keys == {}
    [row] = registry.tenants.keys("acme")
    revoked_at = row.revoked_at
    assert revoked_at is not None
    registry.tenants.revoke_key(key.id)
    assert registry.tenants.keys("acme")[0].revoked_at == revoked_at, "the first time counts"


def test_keys_are_for_tenants_that_exist(registry: Registry) -> None:
    with pytest.raises(NotFound, match="tenant 'nobody' does not exist"):
        registry.tenants.create_key("nobody")
    with pytest.raises(NotFound, match="key 'key-1' does not exist"):
        registry.tenants.revoke_key("key-1")


def test_limits_can_be_set_and_unknown_fields_are_refused(registry: Registry) -> None:
    registry.tenants.create("acme", requests_per_minute=60, store_text=True)
    changed = registry.tenants.update("acme", requests_per_minute=None, weight=2.0)
    assert (changed.requests_per_minute, changed.weight) == (None, 2.0)
    assert registry.tenants.get("acme").store_text
    with pytest.raises(TypeError, match="a tenant has no field wieght"):
        registry.tenants.update("acme", wieght=2.0)
    with pytest.raises(TypeError, match="name"):
        registry.tenants.update("acme", name="other")
    with pytest.raises(NotFound):
        registry.tenants.update("nobody", weight=1.0)


def test_every_tenant_has_a_cache_of_its_own(registry: Registry) -> None:
    salts = {registry.tenants.create(f"tenant-{n}").cache_salt for n in range(20)}
    assert len(salts) == 20
    assert all(len(salt) == 32 for salt in salts)


def test_deleting_a_tenant_takes_all_of_its_rows_and_nobody_elses(registry: Registry) -> None:
    for tenant in ("acme", "lex"):
        make_adapter(registry, tenant)
        make_version(registry, tenant, tenant)
        registry.tenants.create_key(tenant)
        make_job(registry, tenant=tenant)
        registry.upload(tenant, "data.jsonl", b"{}")
        registry.exchanges.add([make_exchange(1, tenant)])
        registry.exchanges.give_feedback(tenant, f"chatcmpl-{tenant}-1", rating=1.0)
        registry.decisions.record(tenant, "tickets", "hold", "rule")
    registry.tenants.delete("acme")
    with registry.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if "tenant" in table.columns:
                owners = {*session.scalars(text(f"SELECT tenant FROM {table.name}"))}
                assert owners <= {"lex"}, table.name
                assert owners or table.name == "drift_states", table.name
    with pytest.raises(NotFound):
        registry.tenants.delete("acme")


def test_an_adapter_needs_its_tenant_and_an_alias_its_adapter(registry: Registry) -> None:
    with pytest.raises(NotFound, match="tenant 'nobody'"):
        registry.adapters.create("nobody", "tickets", "switchyard-tiny")
    registry.tenants.create("acme")
    with pytest.raises(NotFound, match="adapter 'acme/tickets'"):
        registry.aliases.ensure("acme", "tickets", "tickets")
    with pytest.raises(NotFound, match="adapter 'acme/tickets'"):
        make_version(registry, 1)
    with pytest.raises(NotFound, match="tenant 'nobody'"):
        registry.jobs.enqueue("nobody", "tickets", "file-1")
    with pytest.raises(NotFound, match="tenant 'nobody'"):
        registry.upload("nobody", "data.jsonl", b"{}")


def test_an_adapters_options_can_be_changed_and_nothing_else(registry: Registry) -> None:
    make_adapter(registry)
    changed = registry.adapters.update("acme", "tickets", training={"rank": 16})
    assert changed.training == {"rank": 16}
    assert registry.adapters.ensure("acme", "tickets", "other").base == "switchyard-tiny"
    with pytest.raises(TypeError, match="base"):
        registry.adapters.update("acme", "tickets", base={})
    with pytest.raises(NotFound):
        registry.adapters.update("acme", "nothing", training={})


def test_of_many_who_create_the_same_tenant_one_succeeds(registry: Registry) -> None:
    def create(_: int) -> str:
        try:
            registry.tenants.create("acme")
        except AlreadyExists:
            return "exists"
        return "created"

    with ThreadPoolExecutor(8) as pool:
        outcomes = [*pool.map(create, range(8))]
    assert sorted(outcomes) == ["created"] + ["exists"] * 7


def test_many_who_create_different_tenants_all_succeed(registry: Registry) -> None:
    """On an empty database, where the revision's row is not there yet either."""
    before = registry.revision()
    with ThreadPoolExecutor(8) as pool:
        [*pool.map(lambda n: registry.tenants.create(f"tenant-{n}"), range(24))]
    assert len(registry.tenants.all()) == 24
    assert registry.revision() == before + 24


def test_of_many_who_ensure_the_same_adapter_and_alias_none_fails(registry: Registry) -> None:
    registry.tenants.create("acme")

    def ensure(_: int) -> RegistryError | None:
        try:
            registry.adapters.ensure("acme", "tickets", "switchyard-tiny")
            registry.aliases.ensure("acme", "tickets", "tickets")
        except RegistryError as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(ensure, range(8))] == [None] * 8
    assert registry.tenants.get("acme").default_alias == "tickets"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requests_per_minute", 0),
        ("tokens_per_minute", 2**31),
        ("tokens_per_day", 1.5),
        ("max_concurrent", True),
        ("weight", 0),
        ("weight", float("nan")),
        ("weight", float("inf")),
        ("weight", "1"),
        ("store_text", "yes"),
    ],
)
def test_a_field_out_of_its_range_is_named_and_changes_nothing(
    registry: Registry, field: str, value: object
) -> None:
    registry.tenants.create("acme")
    before = registry.revision()
    with pytest.raises(InvalidValue, match=f"^{field} .*: expected ") as error:
        registry.tenants.update("acme", **{field: value})
    assert error.value.field == field
    with pytest.raises(InvalidValue):
        registry.tenants.create("lex", **{field: value})  # type: ignore[arg-type]
    assert registry.revision() == before


def test_the_default_alias_is_one_of_the_tenants_own(registry: Registry) -> None:
    make_adapter(registry)
    make_adapter(registry, "lex", "clauses")
    for name in ("clauses", "nothing", "\0", "a" * 5000):
        with pytest.raises(NotFound, match="alias"):
            registry.tenants.update("acme", default_alias=name)
    assert registry.tenants.update("acme", default_alias=None).default_alias is None
    assert registry.tenants.update("acme", default_alias="tickets").default_alias == "tickets"


def test_a_rotated_key_opens_until_its_grace_is_over(registry: Registry) -> None:
    registry.tenants.create("acme")
    first = registry.tenants.create_key("acme", "web")
    second, old = registry.tenants.rotate_key(first.id, grace_s=600)
    at = time.time()
    assert (second.name, second.expires_at, old.state(at)) == ("web", None, "valid")
    assert old.state(at + 700) == "expired"
    keys = registry.snapshot().keys
    assert keys[hash_key(first.secret)].expires_at == old.expires_at
    assert keys[hash_key(second.secret)].tenant == "acme"

    third, old = registry.tenants.rotate_key(second.id, grace_s=0, expires_at=at + 50)
    assert old.state(time.time()) == "expired", "one that leaked ends at once"
    _, old = registry.tenants.rotate_key(third.id, grace_s=600)
    assert old.expires_at == at + 50, "the grace makes no key last longer"
    with pytest.raises(InvalidTransition, match="is 'expired' and can't become 'rotated'"):
        registry.tenants.rotate_key(second.id)
    registry.tenants.revoke_key(first.id)
    with pytest.raises(InvalidTransition, match="is 'revoked' and can't become 'rotated'"):
        registry.tenants.rotate_key(first.id)
    for wrong in (-1, 1e9, float("nan")):
        with pytest.raises(InvalidValue, match=r"^grace_s"):
            registry.tenants.rotate_key(third.id, grace_s=wrong)
    with pytest.raises(NotFound):
        registry.tenants.rotate_key("key-1")
    assert len(registry.tenants.keys("acme")) == 4


@pytest.mark.parametrize("name", ["\0", "a\nb", "\ud800", "a" * 201, "\x85"])
def test_a_key_s_name_is_text_for_people(registry: Registry, name: str) -> None:
    registry.tenants.create("acme")
    with pytest.raises(InvalidValue, match=r"^name .*no control characters") as error:
        registry.tenants.create_key("acme", name)
    assert len(str(error.value)) < 250
    assert registry.tenants.create_key("acme", "Wébsite ✓ 日本").name == "Wébsite ✓ 日本"
    assert [key.name for key in registry.tenants.keys("acme")] == ["Wébsite ✓ 日本"]


@pytest.mark.parametrize("name", ["\0", "\ud800", "a" * 100_000, "../etc", "аcme"])
def test_a_name_that_is_no_name_is_not_found_or_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidName) as error:
        registry.tenants.create(name)
    assert len(str(error.value)) < 300
