"""Selection, as values: a name means what is the tenant's own, and nothing else means anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.aliases import Alias
from registry.engines import Engine
from registry.names import served_name
from registry.snapshot import Snapshot
from registry.tenants import Tenant
from registry.versions import TRANSITIONS, Version
from router.errors import ModelNotFound
from router.replicas import Replicas
from router.select import SERVABLE, Target, select
from router.settings import RouterSettings
from router.view import View, derive

BASE = "switchyard-tiny"
TENANTS = ("acme", "lex")
NAMES = ("triage", "clauses", "notes", BASE)
STATES = sorted(TRANSITIONS.keys() - {"rejected"})  # snapshots leave rejected ones out


@st.composite
def views(draw: st.DrawFn) -> View:
    """Two tenants whose aliases, adapters and versions may have the same names."""
    tenants, aliases, versions = {}, {}, {}
    for number, tenant in enumerate(TENANTS):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        default = draw(st.none() | st.sampled_from(names)) if names else None
        tenants[tenant] = Tenant(name=tenant, default_alias=default)
        for place, name in enumerate(names):
            made = []
            for turn in range(draw(st.integers(0, 2))):
                digest = f"{number}{place}{turn}" + "0" * 61
                made.append(digest)
                versions[digest] = Version(
                    digest=digest,
                    tenant=tenant,
                    adapter=name,
                    served_name=served_name(name, digest),
                    state=draw(st.sampled_from(STATES)),
                    manifest={"base": BASE},
                )
            live = draw(st.none() | st.sampled_from([*made, "f" * 64]))
            previous = draw(st.none() | st.sampled_from([*made, "e" * 64]))
            policy = draw(st.sampled_from(["fail", "wait", "previous", "base"]))
            aliases[tenant, name] = Alias(
                tenant=tenant,
                name=name,
                adapter=name,
                live=live,
                previous=previous,
                fallback=policy,
                wait_ms=10,
            )
    engine = Engine(id="e", url="http://e", base=BASE, state="ready", heartbeat_at=100.0)
    return derive(
        Snapshot(
            revision=1,
            taken_at=101.0,
            tenants=tenants,
            aliases=aliases,
            versions=versions,
            served={v.served_name: v for v in versions.values()},
            engines=(engine,) if draw(st.booleans()) else (),
        ),
        15.0,
    )


@given(view=views(), data=st.data())
def test_a_tenant_reaches_its_own_and_the_base_and_nothing_else(
    view: View, data: st.DataObject
) -> None:
    served = [*view.snapshot.served, *NAMES, "unknown", "triage@000000000000", "../etc", "", None]
    tenant = view.snapshot.tenants[data.draw(st.sampled_from(TENANTS))]
    asked = data.draw(st.sampled_from(served))
    try:
        target = select(tenant, asked, view)
    except ModelNotFound as error:
        assert asked and error.status == 404
        assert (tenant.name, asked) not in view.snapshot.aliases
        own = view.snapshot.served.get(asked)
        assert own is None or own.tenant != tenant.name or own.state not in SERVABLE
        assert asked not in view.bases
        return
    for version in (target.version, target.previous):
        assert version is None or version.tenant == tenant.name
    assert target.asked == asked or not asked
    assert target.alias is None or target.alias.tenant == tenant.name
    if target.alias is None and target.version is not None:
        assert target.version.state in SERVABLE and target.policy == "fail"


@given(view=views())
def test_names_of_two_tenants_never_mix(view: View) -> None:
    acme, lex = (view.snapshot.tenants[name] for name in TENANTS)
    for name in view.snapshot.served:
        owners = []
        for tenant in (acme, lex):
            try:
                if select(tenant, name, view).version is not None:
                    owners.append(tenant.name)
            except ModelNotFound:
                pass
        assert len(owners) <= 1


def test_without_a_model_the_default_alias_or_the_base_is_meant() -> None:
    engine = Engine(id="e", url="http://e", base=BASE, state="ready", heartbeat_at=0.0)
    alias = Alias(tenant="acme", name="triage", adapter="triage", fallback="base", wait_ms=0)
    view = derive(
        Snapshot(taken_at=1.0, aliases={("acme", "triage"): alias}, engines=(engine,)), 15.0
    )
    assert select(Tenant(name="acme", default_alias="triage"), None, view).alias is alias
    assert select(Tenant(name="solo"), None, view) == Target(BASE, base=BASE)
    assert select(Tenant(name="solo"), "", View()).wants_base


def engine_of(name: str, state: str = "ready", seen: float = 100.0) -> Engine:
    return Engine(
        id=name,
        url=f"http://{name}",
        base=BASE,
        state=state,
        heartbeat_at=seen,
        started_at=1.0,
        max_loras=4,
        max_lora_rank=16,
        max_cpu_loras=64,
        max_num_seqs=64,
    )


def test_only_ready_and_fresh_engines_are_used() -> None:
    engines = (
        engine_of("fresh"),
        engine_of("starting", "starting"),
        engine_of("draining", "draining"),
        engine_of("stale", seen=80.0),
    )
    view = derive(Snapshot(taken_at=101.0, engines=engines), 15.0)
    assert [engine.id for engine in view.ready] == ["fresh"]
    replicas = Replicas(RouterSettings())
    assert replicas.choose(view, 0.0, base="another") is None
    chosen = replicas.choose(view, 0.0, digest="v")
    assert chosen is not None and chosen.engine.id == "fresh"


def test_an_unknown_name_is_told_back_shortened() -> None:
    with pytest.raises(ModelNotFound) as caught:
        select(Tenant(name="acme"), "x" * 5000, View())
    assert len(caught.value.message) < 400
