"""The commands that need nothing but the registry."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from cli.home import Home
from registry import Registry
from tests.cli.conftest import Switchyard
from tests.registry.making import digest_of, make_adapter, make_exchange, make_job, make_version

CERTIFICATE = {"engines": {"engine-0": {"parity_mean": 0.01, "effect_mean": 2.7}}}


def test_a_home_without_a_registry_is_named_and_not_made(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    result = Switchyard(nowhere)("tenant", "list", code=1)
    assert f"there is no registry in {nowhere}" in result.stderr
    assert not nowhere.exists()


def test_creating_the_first_tenant_makes_the_registry(tmp_path: Path) -> None:
    switchyard = Switchyard(tmp_path / "new")
    switchyard("tenant", "create", "acme", "--store-text", "--requests-per-minute", 60)
    (tenant,) = switchyard.json("tenant", "list")
    assert tenant["name"] == "acme"
    assert tenant["store_text"] is True
    assert tenant["requests_per_minute"] == 60
    assert "cache_salt" not in tenant


def test_an_error_is_one_line_and_exit_code_1(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", "acme")
    result = switchyard("tenant", "create", "acme", code=1)
    assert result.stderr == "switchyard: tenant 'acme' exists already\n"
    result = switchyard("tenant", "create", "Acme & Co", code=1)
    assert "expected 1–63 characters" in result.stderr
    assert "Traceback" not in result.output


def test_wrong_usage_is_exit_code_2(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", code=2)
    switchyard("tenant", "update", "acme", code=2)
    switchyard("no-such-command", code=2)


def test_a_wrong_setting_is_named(switchyard: Switchyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHYARD_REGISTRY_DATABSE_URL", "sqlite:///elsewhere.db")
    result = switchyard("tenant", "list", code=1)
    assert "SWITCHYARD_REGISTRY_DATABSE_URL: no such setting" in result.stderr


def test_a_tenant_is_changed_and_deleted(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", "acme")
    switchyard("tenant", "update", "acme", "--no-auto-promote", "--weight", 2)
    shown = switchyard.json("tenant", "show", "acme")
    assert (shown["auto_promote"], shown["weight"], shown["aliases"]) == (False, 2.0, {})
    result = switchyard("tenant", "update", "acme", "--default-alias", "nope", code=1)
    assert "alias 'acme/nope' does not exist" in result.stderr
    switchyard("tenant", "delete", "acme", code=1, input="n\n")
    assert switchyard.json("tenant", "list") != []
    switchyard("tenant", "delete", "acme", "--yes")
    assert switchyard.json("tenant", "list") == []


def test_a_tenant_s_exchanges_are_forgotten(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    switchyard("tenant", "create", "acme")
    home_registry.exchanges.add([make_exchange(n, text="Hello") for n in range(2)])
    switchyard("tenant", "forget", "acme", code=1, input="n\n")
    assert len(home_registry.exchanges.since(0)) == 2
    result = switchyard("tenant", "forget", "acme", "--text-only", "--yes")
    assert result.stdout == "deleted the text of 2 exchanges of acme, feedback on 0\n"
    assert [row.messages for row in home_registry.exchanges.since(0)] == [None, None]
    gone = switchyard.json("tenant", "forget", "acme", "--yes")
    assert gone == {"name": "acme", "exchanges": 2, "feedback": 0}
    assert home_registry.exchanges.since(0) == []
    result = switchyard("tenant", "forget", "ghost", "--yes", code=1)
    assert "tenant 'ghost' does not exist" in result.stderr


def test_a_key_s_secret_is_shown_once(switchyard: Switchyard, home: Home) -> None:
    switchyard("tenant", "create", "acme")
    secret = switchyard("key", "create", "acme", "--name", "web").stdout.strip()
    assert secret.startswith("sk-sy-")
    (key,) = switchyard.json("key", "list")
    assert key["state"] == "valid"
    assert "hash" not in key
    everything = switchyard("key", "list").output + switchyard("tenant", "show", "acme").output
    assert secret not in everything
    switchyard("key", "revoke", key["id"])
    assert switchyard.json("key", "list")[0]["state"] == "revoked"
    assert switchyard.json("tenant", "show", "acme")["keys"] == 0


def test_a_key_may_end_by_itself(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", "acme")
    switchyard("key", "create", "acme", "--days", 0)
    assert switchyard.json("key", "list")[0]["state"] == "expired"


def test_the_engine_s_key_is_made_once_for_this_user_only(home: Home) -> None:
    key = home.engine_key()
    assert len(key) == 48
    assert home.engine_key() == key
    assert stat.S_IMODE((home.folder / "engine.key").stat().st_mode) == 0o600
    assert Home(home.folder, {"SWITCHYARD_ENGINE_API_KEY": "given"}).engine_key() == "given"


def test_an_adapter_s_lineage_goes_from_data_to_state(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    make_adapter(home_registry)
    version = make_version(home_registry, 1)
    home_registry.versions.certify(version.digest, CERTIFICATE)
    home_registry.aliases.flip("acme", "tickets", version.digest)
    (row,) = switchyard.json("adapter", "list")
    assert row["live"] == {"tickets": version.short}
    shown = switchyard.json("adapter", "show", "tickets", "--tenant", "acme")
    assert shown["versions"][0]["certificate"] == {
        "engines": {"engine-0": {"parity_mean": 0.01, "effect_mean": 2.7}}
    }
    text = switchyard("adapter", "show", "tickets", "--tenant", "acme").stdout
    assert f"{version.served_name}  live" in text
    assert "exact on 100 rows: adapter 97.0%" in text
    assert "engine-0: parity_mean 0.01, effect_mean 2.7" in text


def test_an_adapter_s_lineage_goes_on_to_decisions_and_live_traffic(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    make_adapter(home_registry)
    file = home_registry.upload("acme", "tickets.jsonl", b"{}")
    job = home_registry.jobs.enqueue("acme", "tickets", file, spec={"rank": 8})
    parent = make_version(home_registry, 0)
    version = home_registry.versions.publish(
        "acme",
        "tickets",
        digest_of(1),
        manifest={"rows": {"train": 90}, "dataset_sha256": "a" * 64},
        evaluation={},
        verdict="promote",
        parent=parent.digest,
        job_id=job.id,
    )
    home_registry.versions.certify(version.digest, CERTIFICATE)
    home_registry.aliases.flip("acme", "tickets", version.digest)
    home_registry.decisions.record(
        "acme", "tickets", "promote", "better than the parent", digest=version.digest
    )
    home_registry.decisions.record("acme", "tickets", "retrain", "input drifted", job_id=job.id)
    exchange = make_exchange(0, created_at=time.time() - 2 * 86_400)
    home_registry.exchanges.add([exchange, make_exchange(1, created_at=time.time() - 60)])
    home_registry.exchanges.give_feedback("acme", exchange.id, rating=0.5)
    shown = switchyard.json("adapter", "show", "tickets", "--tenant", "acme")["versions"]
    told = next(value for value in shown if value["digest"] == version.digest)
    assert told["parents"] == [parent.served_name]
    assert told["files"][0]["digest"] == home_registry.files.get("acme", file).digest
    assert told["job"]["options"] == {"rank": 8}
    assert {decision["rule"] for decision in told["decisions"]} == {
        "input drifted",
        "better than the parent",
    }
    assert told["traffic"]["24h"]["requests"] == 1
    assert told["traffic"]["7d"]["requests"] == 2
    text = switchyard("adapter", "show", "tickets", "--tenant", "acme").stdout
    assert f"tickets.jsonl ({file}) for train, 90 rows" in text
    assert "live of tickets" in text
    assert "2 requests (100% of the adapter's), 12 ms, rated +0.50 by 1" in text


def test_promoting_asks_and_does_not_wait_if_told_so(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    make_adapter(home_registry)
    version = make_version(home_registry, 1)
    home_registry.versions.move(version.digest, "rejected", {"summary": "not better"})
    switchyard("adapter", "promote", version.short, "-t", "acme", "--no-wait")
    asked = home_registry.versions.get(version.digest)
    assert asked.state == "candidate"
    assert asked.reasons["requested_by"]
    result = switchyard("adapter", "promote", version.short, "-t", "acme", "--timeout", 1, code=1)
    assert "is still 'candidate' after 1 s" in result.stderr
    result = switchyard("adapter", "promote", "tickets@000000000000", "-t", "acme", code=1)
    assert "does not exist" in result.stderr


def test_rolling_back_is_one_flip_with_a_receipt(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    make_adapter(home_registry)
    first, second = (make_version(home_registry, seed) for seed in (1, 2))
    for version in (first, second):
        home_registry.versions.certify(version.digest, {"parity": 0.01})
        home_registry.aliases.flip("acme", "tickets", version.digest)
    home_registry.aliases.retire(first.digest)
    switchyard("adapter", "rollback", "tickets", "-t", "acme")
    assert home_registry.aliases.get("acme", "tickets").live == first.digest
    (receipt,) = switchyard.json("decision", "list", "--kind", "rollback")
    assert receipt["evidence"]["from"] == second.digest
    switchyard("decision", "list")


def test_there_is_nothing_to_roll_back_to(switchyard: Switchyard, home_registry: Registry) -> None:
    make_adapter(home_registry)
    result = switchyard("adapter", "rollback", "tickets", "-t", "acme", code=1)
    assert "has no version before the one that is live" in result.stderr
    version = make_version(home_registry, 1)
    result = switchyard(
        "adapter", "rollback", "tickets", "-t", "acme", "--to", version.short, code=1
    )
    assert "was never live" in result.stderr


def test_a_job_is_listed_told_and_cancelled(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    make_adapter(home_registry)
    job = make_job(home_registry)
    assert [row["id"] for row in switchyard.json("job", "list", "--active")] == [job]
    assert "Created fine-tuning job" in switchyard("job", "events", job).stdout
    switchyard("job", "cancel", job)
    assert switchyard.json("job", "show", job)["state"] == "cancelled"
    result = switchyard("job", "cancel", job, code=1)
    assert "is 'cancelled' and can't become 'cancelled'" in result.stderr
    messages = [event["message"] for event in switchyard.json("job", "events", job, "--follow")]
    assert messages == ["Created fine-tuning job", "Cancelled"]


def test_status_tells_what_is_live(switchyard: Switchyard, home_registry: Registry) -> None:
    make_adapter(home_registry)
    version = make_version(home_registry, 1)
    home_registry.aliases.flip("acme", "tickets", version.digest)
    engine = home_registry.engines.register(
        "engine-1", "http://127.0.0.1:8100", "switchyard-tiny", max_loras=4, max_lora_rank=16
    )
    home_registry.engines.place(engine.id, version.digest, "warm")
    make_job(home_registry)
    status = switchyard.json("status")
    assert status["processes"] == []
    assert status["aliases"][0]["live"] == version.served_name
    assert status["aliases"][0]["warm_on"] == 1
    assert status["engines"][0]["id"] == "engine-1"
    assert status["jobs"][0]["state"] == "queued"
    text = switchyard("status").stdout
    assert "`switchyard up` does not run" in text
    assert version.served_name in text


def test_migrating_tells_where_without_a_password(switchyard: Switchyard, home: Home) -> None:
    value = switchyard.json("registry", "migrate")
    assert value["database"] == f"sqlite:///{home.folder}/registry.db"
    assert value["current"] is True


def test_a_limit_is_set_and_taken_away(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", "acme", "--tokens-per-day", 5000, "--weight", 2)
    switchyard("tenant", "update", "acme", "--requests-per-minute", 60, "--tokens-per-day", 0)
    shown = switchyard.json("tenant", "show", "acme")
    assert (shown["requests_per_minute"], shown["tokens_per_day"]) == (60, None)
    assert shown["weight"] == 2.0
    result = switchyard("tenant", "update", "acme", "--weight", "inf", code=1)
    assert "weight inf: expected a number from 0.01 to 1000" in result.stderr


def test_a_key_ends_when_it_was_said(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", "acme")
    made = switchyard.json("key", "create", "acme", "--expires", "90d")
    assert made["expires_at"] == pytest.approx(time.time() + 90 * 86400, abs=60)
    made = switchyard.json("key", "create", "acme", "--expires", "2100-01-01")
    assert made["expires_at"] == 4102444800
    for wrong in ("soon", "2001-01-01", "5y"):
        result = switchyard("key", "create", "acme", "--expires", wrong, code=2)
        assert "expected a duration" in result.stderr or "is past" in result.stderr
    switchyard("key", "create", "acme", "--expires", "90d", "--days", 5, code=2)
    assert len(switchyard.json("key", "list")) == 2


def test_a_key_is_rotated(switchyard: Switchyard) -> None:
    switchyard("tenant", "create", "acme")
    old = switchyard.json("key", "create", "acme", "--name", "web")
    new = switchyard.json("key", "rotate", old["id"], "--grace", "2h")
    assert new["secret"] != old["secret"]
    assert new["replaced"]["id"] == old["id"]
    assert new["replaced"]["expires_at"] == pytest.approx(time.time() + 7200, abs=60)
    secret = switchyard("key", "rotate", old["id"], "--grace", "0s").stdout.strip()
    assert secret.startswith("sk-sy-")
    assert [key["state"] for key in switchyard.json("key", "list")] == ["expired", "valid", "valid"]
    result = switchyard("key", "rotate", old["id"], code=1)
    assert "is 'expired' and can't become 'rotated'" in result.stderr
    switchyard("key", "rotate", new["id"], "--grace", "soon", code=2)


def test_an_alias_is_listed_shown_and_set(switchyard: Switchyard, home_registry: Registry) -> None:
    make_adapter(home_registry)
    live, next_ = make_version(home_registry, 1), make_version(home_registry, 2)
    home_registry.aliases.flip("acme", "tickets", live.digest)
    home_registry.aliases.ensure("acme", "beta", "tickets")
    set_ = ("alias", "set", "tickets", "-t", "acme")
    switchyard(*set_, "--fallback", "wait", "--wait-ms", 500, "--sticky", "user")
    switchyard(*set_, "--canary", next_.short, "--canary-weight", 0.1, "--shadow", next_.short)
    shown = switchyard.json("alias", "show", "tickets", "-t", "acme")
    assert (shown["fallback"], shown["wait_ms"], shown["sticky"]) == ("wait", 500, "user")
    assert (shown["live"], shown["canary"]) == (live.served_name, next_.served_name)
    assert (shown["canary_weight"], shown["shadow"]) == (0.1, next_.served_name)
    switchyard(*set_, "--canary", "none", "--shadow", "none")
    switchyard("alias", "set", "beta", "-t", "acme", "--default")
    rows = {row["name"]: row for row in switchyard.json("alias", "list", "-t", "acme")}
    assert (rows["tickets"]["canary"], rows["tickets"]["canary_weight"]) == (None, 0.0)
    assert (rows["beta"]["default"], rows["tickets"]["default"]) == (True, False)
    assert live.served_name in switchyard("alias", "list").stdout

    switchyard(*set_, code=2)
    result = switchyard(*set_, "--fallback", "hope", code=1)
    assert "fallback 'hope': expected one of fail, wait, previous, base" in result.stderr
    home_registry.versions.move(next_.digest, "rejected")
    result = switchyard(*set_, "--canary", next_.short, code=1)
    assert "can't be the canary: it was rejected" in result.stderr
