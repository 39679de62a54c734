"""The admin API on a real port: who gets in, what each noun can be made to do, how it refuses."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import structlog
from sqlalchemy import text

from registry import Registry
from registry.tenants import hash_key
from router.admin import gate
from router.admin.server import AdminServer, PortInUse, _bind
from router.settings import RouterSettings
from tests.fake_engine import FakeEngine
from tests.registry.making import digest_of, make_adapter, make_exchange, make_job, make_version
from tests.router.administered import ADMIN_KEY, administered, client_of, refused
from tests.router.conftest import World, running, until


@pytest.fixture
def admin(registry: Registry) -> Iterator[httpx.Client]:
    """On SQLite and on PostgreSQL."""
    with administered(registry) as client:
        yield client


@pytest.fixture
def lite(sqlite_registry: Registry) -> Iterator[httpx.Client]:
    """On SQLite only, where the database makes no difference."""
    with administered(sqlite_registry) as client:
        yield client


# ---- who gets in


def test_without_the_key_nothing_is_told(lite: httpx.Client) -> None:
    wrong = ["Bearer", "Bearer wrong", f"Basic {ADMIN_KEY}", ADMIN_KEY, f"Bearer {ADMIN_KEY}x"]
    wrong += [f"Bearer {ADMIN_KEY[:-1]}", f"Bearer {'x' * 7000}"]
    for headers in ({}, *({"authorization": value} for value in wrong)):
        for path in ("/v1/tenants", "/v1/nothing", "/v1/tenants/acme"):
            answer = httpx.get(f"{lite.base_url}{path}", headers=headers, trust_env=False)
            message = refused(answer, 401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert ADMIN_KEY not in message


def test_the_key_is_asked_for_before_the_body_is_read(lite: httpx.Client) -> None:
    answer = httpx.post(f"{lite.base_url}/v1/tenants", content=b"{", trust_env=False)
    refused(answer, 401, "invalid_api_key")


def test_a_tenant_s_key_opens_nothing_here(lite: httpx.Client) -> None:
    lite.post("/v1/tenants", json={"name": "acme"})
    secret = lite.post("/v1/tenants/acme/keys", json={}).json()["secret"]
    answer = lite.get("/v1/tenants", headers={"authorization": f"Bearer {secret}"})
    refused(answer, 401, "invalid_api_key")


def test_probes_and_the_description_need_no_key(lite: httpx.Client) -> None:
    assert httpx.get(f"{lite.base_url}/health", trust_env=False).json() == {"status": "ok"}
    described = httpx.get(f"{lite.base_url}/openapi.json", trust_env=False).json()
    assert described["openapi"].startswith("3.1")


def test_an_answer_does_not_wait_for_the_acknowledgement_of_the_one_before() -> None:
    """asyncio sends at once (TCP_NODELAY) only on sockets that say their protocol."""
    with _bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_without_an_admin_key_there_is_no_admin_api_and_the_log_says_so(
    sqlite_registry: Registry,
) -> None:
    server = AdminServer(RouterSettings(), sqlite_registry)
    with structlog.testing.capture_logs() as logs:
        server.startup()
    assert [entry["event"] for entry in logs] == [
        "no admin API: SWITCHYARD_ROUTER_ADMIN_KEY is not set"
    ]
    assert server.url is None
    server.shutdown()


def test_a_key_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 characters"):
        RouterSettings(admin_key="short")


def test_a_port_that_is_taken_is_named(sqlite_registry: Registry) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        server = AdminServer(RouterSettings(admin_key=ADMIN_KEY, admin_port=port), sqlite_registry)
        with pytest.raises(PortInUse, match=f":{port}: the port is in use.*ADMIN_PORT"):
            server.startup()


# ---- a change is routed


async def test_a_tenant_and_its_key_are_routed_within_a_second(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, admin_key=ADMIN_KEY, admin_port=0) as router:
        url = router.server.admin_url
        assert url is not None

        async def opens(secret: str) -> bool:
            async with router.client(api_key=secret) as client:
                try:
                    await client.models.list()
                except openai.AuthenticationError:
                    return False
            return True

        took = []
        with client_of(url) as admin:
            for name in ("first", "second", "third"):
                admin.post("/v1/tenants", json={"name": name}).raise_for_status()
                made = admin.post(f"/v1/tenants/{name}/keys", json={"name": "web"}).json()
                started = time.monotonic()
                await until(lambda key=made["secret"]: opens(key), "the new key to open")
                took.append(time.monotonic() - started)
            async with router.client(api_key=made["secret"]) as client:
                said = [{"role": "user", "content": "hello"}]
                answer = await client.chat.completions.create(model=engine.base, messages=said)
                assert answer.choices
            admin.post(f"/v1/tenants/third/keys/{made['id']}/revoke").raise_for_status()

            async def closed() -> bool:
                return not await opens(made["secret"])

            await until(closed, "the revoked key to open nothing")
        assert min(took) < 1, took
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)


# ---- tenants


def test_a_tenant_s_life(admin: httpx.Client, registry: Registry) -> None:
    made = admin.post("/v1/tenants", json={"name": "acme", "requests_per_minute": 60, "weight": 2})
    assert made.status_code == 201
    assert made.json()["requests_per_minute"] == 60
    assert "cache_salt" not in made.json()
    assert isinstance(made.json()["created_at"], int)
    refused(admin.post("/v1/tenants", json={"name": "acme"}), 409, "already_exists", "tenant")

    change = {"requests_per_minute": None, "tokens_per_day": 1000, "store_text": True}
    changed = admin.patch("/v1/tenants/acme", json=change).json()
    assert changed == admin.get("/v1/tenants/acme").json()
    assert (changed["requests_per_minute"], changed["tokens_per_day"]) == (None, 1000)
    assert (changed["weight"], changed["store_text"]) == (2.0, True)
    assert admin.patch("/v1/tenants/acme", json={}).json() == changed, "nothing named, nothing done"

    gone = admin.delete("/v1/tenants/acme")
    assert gone.json() == {"id": "acme", "object": "tenant.deleted", "deleted": True}
    for again in (admin.delete("/v1/tenants/acme"), admin.get("/v1/tenants/acme")):
        refused(again, 404, "not_found", "tenant")
    assert registry.tenants.all() == []


def test_what_was_kept_of_a_tenants_requests_is_deleted(
    admin: httpx.Client, registry: Registry
) -> None:
    path = "/v1/tenants/acme/exchanges"
    refused(admin.delete(path), 404, "not_found", "tenant")
    for tenant in ("acme", "lex"):
        registry.tenants.create(tenant)
        registry.exchanges.add([make_exchange(n, tenant, "Hello") for n in range(3)])
    registry.exchanges.give_feedback("acme", "chatcmpl-acme-1", correction="billing")
    gone = admin.delete(path, params={"text_only": True}).json()
    assert (gone["exchanges"], gone["feedback"]) == (3, 1)
    rows = registry.exchanges.since(0, tenant="acme")
    assert len(rows) == 3 and not any(row.messages or row.answer for row in rows)
    assert admin.delete(path).json() == {
        "id": "acme",
        "object": "tenant.exchanges.deleted",
        "deleted": True,
        "exchanges": 3,
        "feedback": 1,
    }
    assert [row.tenant for row in registry.exchanges.since(0)] == ["lex"] * 3
    refused(admin.delete(path, params={"text_only": "perhaps"}), 400, "invalid_value", "text_only")


def test_pages_lead_through_every_tenant_once(admin: httpx.Client, registry: Registry) -> None:
    names = sorted(f"tenant-{number}" for number in range(7))
    for name in names:
        registry.tenants.create(name)
    seen, after, sizes = [], None, []
    while True:
        query = {"limit": 3} | ({"after": after} if after else {})
        page = admin.get("/v1/tenants", params=query).json()
        assert (page["object"], page["first_id"]) == ("list", page["data"][0]["name"])
        seen += [tenant["name"] for tenant in page["data"]]
        sizes.append(len(page["data"]))
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert (seen, sizes) == (names, [3, 3, 1])
    registry.tenants.delete("tenant-3")
    page = admin.get("/v1/tenants", params={"after": "tenant-3"}).json()
    assert [tenant["name"] for tenant in page["data"]] == names[4:], "the cursor's tenant is gone"


def test_the_default_alias_must_be_one_of_the_tenant_s(
    admin: httpx.Client, registry: Registry
) -> None:
    make_adapter(registry)
    answer = admin.patch("/v1/tenants/acme", json={"default_alias": "nope"})
    assert "'acme/nope' does not exist" in refused(answer, 409, "conflict", "alias")
    assert admin.patch("/v1/tenants/acme", json={"default_alias": None}).json() == {
        **admin.get("/v1/tenants/acme").json(),
        "default_alias": None,
    }


# ---- keys


def test_a_secret_is_in_one_answer_only(admin: httpx.Client, registry: Registry) -> None:
    registry.tenants.create("acme")
    with structlog.testing.capture_logs() as logs:
        made = admin.post("/v1/tenants/acme/keys", json={"name": "web", "ttl_s": 3600}).json()
        secret = made["secret"]
        assert made["expires_at"] == pytest.approx(time.time() + 3600, abs=60)
        assert hash_key(secret) in registry.snapshot().keys
        answers = [
            admin.get("/v1/tenants/acme/keys"),
            admin.get(f"/v1/tenants/acme/keys/{made['id']}"),
            admin.post(f"/v1/tenants/acme/keys/{made['id']}/revoke"),
            admin.post(f"/v1/tenants/acme/keys/{made['id']}/rotate", json={}),
        ]
    for answer in answers:
        assert secret not in answer.text
        assert hash_key(secret) not in answer.text
    said = repr(logs)
    assert "/rotate" in said, "changes are logged"
    for word in (secret, ADMIN_KEY, hash_key(secret)):
        assert word not in said


def test_a_rotated_key_opens_until_its_grace_is_over(
    admin: httpx.Client, registry: Registry
) -> None:
    registry.tenants.create("acme")
    old = admin.post("/v1/tenants/acme/keys", json={"name": "web"}).json()
    path = f"/v1/tenants/acme/keys/{old['id']}"
    rotation = admin.post(f"{path}/rotate", json={"grace_s": 600})
    assert rotation.status_code == 201
    new, replaced = rotation.json()["key"], rotation.json()["replaced"]
    assert (new["name"], new["state"], new["expires_at"]) == ("web", "valid", None)
    assert new["secret"] != old["secret"]
    assert (replaced["id"], replaced["state"]) == (old["id"], "valid")
    assert replaced["expires_at"] == pytest.approx(time.time() + 600, abs=60)

    again = admin.post(f"{path}/rotate", json={"grace_s": 0}).json()
    assert again["replaced"]["state"] == "expired", "a key that leaked ends at once"
    answer = admin.post(f"{path}/rotate", json={})
    assert "is 'expired' and can't become 'rotated'" in refused(answer, 409, "conflict")
    states = [key["state"] for key in admin.get("/v1/tenants/acme/keys").json()["data"]]
    assert states == ["expired", "valid", "valid"]


def test_a_key_s_end_is_in_the_future_and_said_once(lite: httpx.Client) -> None:
    lite.post("/v1/tenants", json={"name": "acme"})
    now = int(time.time())
    for body, param in (
        ({"expires_at": now - 10}, "expires_at"),
        ({"expires_at": now * 1000}, "expires_at"),  # milliseconds
        ({"expires_at": now + 10, "ttl_s": 10}, "ttl_s"),
        ({"ttl_s": 0}, "ttl_s"),
    ):
        refused(lite.post("/v1/tenants/acme/keys", json=body), 400, "invalid_value", param)
    assert lite.get("/v1/tenants/acme/keys").json()["data"] == []


def test_another_tenant_s_key_is_not_there(admin: httpx.Client, registry: Registry) -> None:
    for name in ("acme", "lex"):
        registry.tenants.create(name)
    theirs = registry.tenants.create_key("lex").id
    for verb, path in (("GET", ""), ("POST", "/revoke"), ("POST", "/rotate")):
        answer = admin.request(verb, f"/v1/tenants/acme/keys/{theirs}{path}", json={})
        refused(answer, 404, "not_found", "key")
    assert registry.tenants.key("lex", theirs).state(time.time()) == "valid"


# ---- versions


def test_a_version_is_shown_whole_asked_for_and_retired(
    admin: httpx.Client, registry: Registry
) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    page = admin.get("/v1/tenants/acme/versions", params={"state": "candidate"}).json()
    assert [row["name"] for row in page["data"]] == [version.served_name]
    assert admin.get("/v1/tenants/acme/versions?state=live").json()["data"] == []
    assert admin.get("/v1/tenants/acme/versions?adapter=other").json()["data"] == []
    for name in (version.served_name, version.digest, version.short):
        shown = admin.get(f"/v1/tenants/acme/versions/{name}").json()
        assert (shown["id"], shown["manifest"]["rank"]) == (version.digest, 8)
        assert shown["evaluation"]["n"] == 100
    path = f"/v1/tenants/acme/versions/{version.short}"

    registry.versions.move(version.digest, "rejected", {"summary": "not better"})
    asked = admin.post(f"{path}/promote")
    assert (asked.status_code, asked.json()["state"]) == (202, "candidate")
    assert asked.json()["reasons"]["requested_by"] == "admin-api"

    answer = admin.post(f"{path}/retire")
    assert "can't be retired: it is 'candidate'" in refused(answer, 409, "conflict")
    registry.aliases.flip("acme", "tickets", version.digest)
    assert admin.post(f"{path}/promote").json()["state"] == "live", "it is there already"
    assert "alias 'tickets' points at it" in refused(admin.post(f"{path}/retire"), 409, "conflict")
    registry.aliases.flip("acme", "tickets", make_version(registry, 2).digest)
    assert admin.post(f"{path}/retire").json()["state"] == "retired"
    adapters = admin.get("/v1/tenants/acme/adapters").json()["data"]
    assert [adapter["name"] for adapter in adapters] == ["tickets"]


def test_a_version_is_declined_with_a_reason_and_a_receipt(
    admin: httpx.Client, registry: Registry
) -> None:
    make_adapter(registry)
    live, version = make_version(registry, 1), make_version(registry, 2)
    registry.aliases.flip("acme", "tickets", live.digest)
    registry.aliases.update("acme", "tickets", canary=version.digest, canary_weight=0.5)
    path = "/v1/tenants/acme/versions"
    for body in ({"because": "\u0001"}, {"because": "x" * 1001}, {"because": None}):
        answer = admin.post(f"{path}/{version.short}/reject", json=body)
        refused(answer, 400, "invalid_value", "because")
    answer = admin.post(f"{path}/{version.short}/reject", json={"because": "too terse"})
    assert (answer.status_code, answer.json()["state"]) == (200, "rejected")
    assert answer.json()["reasons"]["rejected_because"] == "a person declined it: too terse"
    assert admin.get("/v1/tenants/acme/aliases/tickets").json()["canary"] is None
    assert admin.post(f"{path}/{version.short}/reject").json()["state"] == "rejected", "still"
    receipts = admin.get("/v1/decisions", params={"kind": "reject"}).json()["data"]
    assert [(r["by"], r["rule"], r["version"]) for r in receipts] == [
        ("admin-api", "declined", version.digest)
    ]
    answer = admin.post(f"{path}/{live.short}/reject")
    assert "`switchyard adapter rollback` takes it back" in refused(answer, 409, "conflict")


def test_another_tenant_s_version_is_not_there(admin: httpx.Client, registry: Registry) -> None:
    make_adapter(registry)
    make_adapter(registry, "lex", "clauses")
    theirs = make_version(registry, 1, "lex", "clauses")
    for verb, path in (("GET", ""), ("POST", "/promote"), ("POST", "/reject"), ("POST", "/retire")):
        answer = admin.request(verb, f"/v1/tenants/acme/versions/{theirs.digest}{path}")
        refused(answer, 404, "not_found", "version")
    for field in ("canary", "shadow"):
        answer = admin.patch("/v1/tenants/acme/aliases/tickets", json={field: theirs.digest})
        refused(answer, 409, "conflict", "version")


def test_a_figure_that_is_no_number_is_shown_as_null(
    lite: httpx.Client, sqlite_registry: Registry
) -> None:
    make_adapter(sqlite_registry)
    sqlite_registry.versions.publish(
        "acme", "tickets", digest_of(9), manifest={}, evaluation={"loss": float("nan")}, verdict="?"
    )
    shown = lite.get(f"/v1/tenants/acme/versions/{digest_of(9)}")
    assert shown.json()["evaluation"] == {"loss": None}


# ---- aliases


def test_an_alias_s_life(admin: httpx.Client, registry: Registry) -> None:
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", "switchyard-tiny")
    made = admin.post("/v1/tenants/acme/aliases", json={"name": "triage", "adapter": "tickets"})
    assert made.status_code == 201
    assert (made.json()["default"], made.json()["live"]) == (True, None)
    body = {"name": "beta", "adapter": "tickets", "fallback": "wait", "wait_ms": 5, "default": True}
    beta = admin.post("/v1/tenants/acme/aliases", json=body).json()
    assert (beta["default"], beta["fallback"], beta["wait_ms"]) == (True, "wait", 5)
    refused(admin.post("/v1/tenants/acme/aliases", json=body), 409, "already_exists", "alias")
    body = {"name": "other", "adapter": "nothing"}
    refused(admin.post("/v1/tenants/acme/aliases", json=body), 409, "conflict", "adapter")

    changed = admin.patch(
        "/v1/tenants/acme/aliases/triage", json={"default": True, "sticky": "user"}
    )
    assert (changed.json()["default"], changed.json()["sticky"]) == (True, "user")
    names = [
        a["name"] for a in admin.get("/v1/tenants/acme/aliases").json()["data"] if a["default"]
    ]
    assert names == ["triage"]
    admin.patch("/v1/tenants/acme/aliases/triage", json={"default": False})
    assert registry.tenants.get("acme").default_alias is None
    refused(admin.get("/v1/tenants/acme/aliases/gone"), 404, "not_found", "alias")


def test_canary_and_shadow_are_set_and_ended(admin: httpx.Client, registry: Registry) -> None:
    make_adapter(registry)
    live, next_ = make_version(registry, 1), make_version(registry, 2)
    registry.aliases.flip("acme", "tickets", live.digest)
    path = "/v1/tenants/acme/aliases/tickets"
    body = {"canary": next_.short, "canary_weight": 0.1, "shadow": next_.served_name}
    shown = admin.patch(path, json={**body, "shadow_share": 1}).json()
    assert (shown["canary"], shown["canary_weight"]) == (next_.served_name, 0.1)
    assert (shown["shadow"], shown["shadow_share"]) == (next_.served_name, 1.0)
    assert registry.aliases.get("acme", "tickets").canary == next_.digest
    ended = admin.patch(path, json={"canary": None}).json()
    assert (ended["canary"], ended["canary_weight"]) == (None, 0.0)
    assert ended["shadow"] == next_.served_name
    registry.versions.move(next_.digest, "rejected")
    answer = admin.patch(path, json={"canary": next_.short})
    assert "can't be the canary: it was rejected" in refused(answer, 409, "conflict")
    for field, value in (("canary_weight", 1.1), ("canary_weight", -0.1), ("wait_ms", -1)):
        refused(admin.patch(path, json={field: value}), 400, "invalid_value", field)
    refused(admin.patch(path, json={"sticky": "ip"}), 400, "invalid_value", "sticky")
    refused(admin.patch(path, json={"live": live.digest}), 400, "invalid_value", "live")


def test_a_rollback_leaves_a_receipt(admin: httpx.Client, registry: Registry) -> None:
    make_adapter(registry)
    path = "/v1/tenants/acme/aliases/tickets/rollback"
    answer = admin.post(path)
    assert "no version before the one that is live" in refused(answer, 409, "conflict")
    old, new = make_version(registry, 1), make_version(registry, 2)
    answer = admin.post(path, json={"to": old.short})
    assert "was never live" in refused(answer, 409, "conflict")
    for version in (old, new):
        registry.versions.certify(version.digest, {"parity": 0.01})
        registry.aliases.flip("acme", "tickets", version.digest)
    back = admin.post(path).json()
    assert (back["live"], back["previous"]) == (old.served_name, new.served_name)
    forth = admin.post(path, json={"to": new.served_name}).json()
    assert forth["live"] == new.served_name
    receipts = admin.get("/v1/decisions", params={"tenant": "acme", "kind": "rollback"}).json()
    assert [receipt["version"] for receipt in receipts["data"]] == [new.digest, old.digest]
    assert {receipt["by"] for receipt in receipts["data"]} == {"admin-api"}


# ---- engines and decisions


def test_engines_are_shown_with_their_heart_and_what_sits_in_them(
    admin: httpx.Client, registry: Registry
) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    registry.engines.register(
        "engine-0", "http://10.0.0.7:8100", "switchyard-tiny", max_loras=4, max_lora_rank=16
    )
    registry.engines.heartbeat("engine-0", "ready")
    registry.engines.place("engine-0", version.digest, "warm", load_ms=12.5)
    [shown] = admin.get("/v1/engines").json()["data"]
    assert (shown["state"], shown["max_loras"], shown["heartbeat_age_s"] < 60) == ("ready", 4, True)
    assert [row["version"] for row in shown["placements"]] == [version.digest]
    assert shown["placements"] == admin.get("/v1/engines/engine-0").json()["placements"]
    detail = admin.get(f"/v1/tenants/acme/versions/{version.short}").json()
    assert [row["engine_id"] for row in detail["placements"]] == ["engine-0"]

    answer = admin.delete("/v1/engines/engine-0")
    assert "is 'ready' and was heard of" in refused(answer, 409, "conflict")
    registry.engines.heartbeat("engine-0", "down")
    assert admin.delete("/v1/engines/engine-0").json()["deleted"] is True
    refused(admin.delete("/v1/engines/engine-0"), 404, "not_found", "engine")
    assert admin.get("/v1/engines").json()["data"] == []


def test_pages_lead_through_every_decision_once(admin: httpx.Client, registry: Registry) -> None:
    registry.tenants.create("acme")
    ids = [registry.decisions.record("acme", "tickets", "hold", f"{n}").id for n in range(5)]
    seen, after = [], None
    while True:
        query = {"limit": 2} | ({"after": after} if after else {})
        page = admin.get("/v1/decisions", params=query).json()
        seen += [decision["id"] for decision in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert sorted(seen) == sorted(ids)
    refused(admin.get("/v1/decisions?after=dec-0"), 400, "invalid_value", "after")
    assert admin.get("/v1/decisions?tenant=nobody").json()["data"] == []


# ---- what it refuses


UNFIT = [
    (b'{"name": "x\\u0000y"}', "name"),
    (b'{"name": "\\ud800"}', "name"),
    (b'{"name": "' + b"a" * 60000 + b'"}', "name"),
    ('{"name": "аcme"}'.encode(), "name"),  # the first letter is Cyrillic
    (b'{"name": "../etc"}', "name"),
    (b'{"name": ""}', "name"),
    (b'{"name": null}', "name"),
    (b'{"name": ["acme"]}', "name"),
    (b"{}", "name"),
    (b'{"name": "acme", "weight": NaN}', "weight"),
    (b'{"name": "acme", "weight": 1e999}', "weight"),
    (b'{"name": "acme", "weight": 0}', "weight"),
    (b'{"name": "acme", "weight": "1"}', "weight"),
    (b'{"name": "acme", "requests_per_minute": 0}', "requests_per_minute"),
    (b'{"name": "acme", "tokens_per_day": 2147483648}', "tokens_per_day"),
    (b'{"name": "acme", "max_concurrent": true}', "max_concurrent"),
    (b'{"name": "acme", "cache_salt": "mine"}', "cache_salt"),
    (b'{"name": "acme", "store_text": "yes"}', "store_text"),
]


def test_a_body_that_does_not_fit_is_refused_and_its_field_named(
    admin: httpx.Client, registry: Registry
) -> None:
    for body, param in UNFIT:
        answer = admin.post("/v1/tenants", content=body)
        code = "missing_required_parameter" if body == b"{}" else "invalid_value"
        message = refused(answer, 400, code, param)
        assert len(message) < 300
    assert registry.tenants.all() == []


def test_a_body_that_is_no_json_is_refused(lite: httpx.Client) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 60000, b'{"name": ' + b"9" * 9000 + b"}"):
        answer = lite.post("/v1/tenants", content=body)
        assert answer.status_code == 400
        code = answer.json()["error"]["code"]
        assert code in ("invalid_json", "missing_required_parameter"), body[:20]


def test_a_key_s_name_is_text_for_people(admin: httpx.Client, registry: Registry) -> None:
    registry.tenants.create("acme")
    for name in ("\\u0000", "x\\u001fy", "\\ud800", "a" * 201, "\\u0085"):
        raw = f'{{"name": "{name}"}}'
        refused(admin.post("/v1/tenants/acme/keys", content=raw), 400, "invalid_value", "name")
    made = admin.post("/v1/tenants/acme/keys", json={"name": "Wébsite ✓ 日本"})
    assert made.json()["name"] == "Wébsite ✓ 日本"


STRANGE = [
    "/v1/tenants/%00",
    "/v1/tenants/..%2f..",
    "/v1/tenants/ACME",
    "/v1/tenants/" + "a" * 5000,
    "/v1/tenants/%ff",
    "/v1/tenants/acme/keys/%00",
    "/v1/tenants/acme/versions/%00",
    "/v1/engines/%00",
    "/v1/engines/" + "e" * 5000,
    "/v1/tenants?after=%00",
    "/v1/decisions?after=%00",
    "/v1/decisions?adapter=%00&kind=%00",
    "/v1/tenants?limit=1e9",
]


def test_a_strange_path_is_a_4xx_in_shape(admin: httpx.Client) -> None:
    for path in STRANGE:
        answer = admin.get(path)
        assert answer.status_code in (400, 404), (path, answer.text)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_path_or_method_that_is_not_there(lite: httpx.Client) -> None:
    refused(lite.get("/v1/nothing"), 404, "unknown_url")
    refused(lite.get("/docs"), 404, "unknown_url")
    answer = lite.put("/v1/tenants", json={})
    refused(answer, 405, "method_not_supported")
    assert answer.headers["allow"] == "GET, POST"


def test_a_giant_body_is_not_read(lite: httpx.Client) -> None:
    refused(lite.post("/v1/tenants", content=b" " * 70_000), 413, "request_too_large")

    def drips() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    refused(lite.post("/v1/tenants", content=drips()), 413, "request_too_large")


def test_a_body_that_does_not_arrive_is_not_waited_for(
    lite: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BODY_S", 0.05)
    with socket.create_connection((lite.base_url.host, lite.base_url.port or 0)) as slow:
        head = f"POST /v1/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        slow.sendall(f"{head}Content-Length: 5\r\n\r\n".encode())
        slow.settimeout(10)
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_more_at_once_than_it_takes_is_told_to_come_back(
    lite: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "AT_ONCE", 0)
    answer = lite.get("/v1/tenants")
    refused(answer, 503, "busy")
    assert answer.headers["retry-after"] == "1"


def test_with_the_database_away_it_says_so_and_nothing_of_where(
    lite: httpx.Client, sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Registry.open("sqlite://", "memory://", migrate=True)
    with administered(elsewhere) as admin:
        with elsewhere.database.write() as session:
            session.execute(text("DROP TABLE tenants"))
        answer = admin.get("/v1/tenants")
        refused(answer, 503, "registry_unavailable")
        assert "sqlite" not in answer.text
        assert admin.get("/health").status_code == 200


def test_of_many_who_create_the_same_tenant_one_succeeds(admin: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(admin.post, "/v1/tenants", json={"name": "acme"}) for _ in range(16)]
    statuses = sorted(call.result().status_code for call in calls)
    assert statuses == [201] + [409] * 15


def test_changes_that_race_with_a_deletion_end_in_shape(
    admin: httpx.Client, registry: Registry
) -> None:
    def work(number: int) -> int:
        if number % 4 == 0:
            return admin.post("/v1/tenants", json={"name": "acme"}).status_code
        if number % 4 == 1:
            return admin.delete("/v1/tenants/acme").status_code
        if number % 4 == 2:
            return admin.post("/v1/tenants/acme/keys", json={}).status_code
        return admin.patch("/v1/tenants/acme", json={"weight": 1 + number % 7}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = {*pool.map(work, range(160))}
    assert statuses <= {200, 201, 404, 409}


def test_deleting_a_tenant_with_all_that_it_has(admin: httpx.Client, registry: Registry) -> None:
    make_adapter(registry)
    make_version(registry, 1)
    make_job(registry)
    registry.tenants.create_key("acme")
    registry.exchanges.add([make_exchange(1)])
    assert admin.delete("/v1/tenants/acme").status_code == 200
    assert registry.snapshot().tenants == {}
