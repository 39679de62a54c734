"""Selection: which version a name means, for this tenant, at this moment. Pure.

A name is, in this order: the tenant's alias, an exact version of the tenant's (`adapter@12hex`, or
`ft:<base>:<tenant>:<adapter>:<12hex>`), a base, or absent (the tenant's default alias, or a base
when it has none). Whatever else there is, another tenant's names included, is one and the same
ModelNotFound.

A request selects once. What it got stays what it is served by, whatever is flipped meanwhile. Which
of an alias's versions that is, when it has a canary, follows from the conversation alone
(`choose`), so one conversation never mixes versions.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.aliases import Alias
from registry.exchanges import CONTROL
from registry.tenants import Tenant
from registry.versions import Version
from router.errors import ModelNotFound
from router.view import View

SERVABLE = frozenset({"shadow", "canary", "live", "retired", "held"})
"""States in which a version may be asked for by its exact name: all have passed the gate. A
candidate has not met the engine's effect and parity check yet, so no traffic may reach it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asked for. `version` None with an `alias`: nothing is live under it.

    `asked` is what the response's `model` says: the client's own word, or the name that stood in
    for none. `base` is the base's served name, None when any engine's will do.
    """

    asked: str
    alias: Alias | None = None
    adapter: str | None = None
    version: Version | None = None
    previous: Version | None = None
    base: str | None = None
    policy: str = "fail"
    wait_ms: int = 0
    canary: Version | None = None
    shadow: Version | None = None
    control: float = 0.0
    """Share of conversations that the base answers although a version is live."""

    @property
    def wants_base(self) -> bool:
        """Whether the base itself was asked for, not an adapter."""
        return self.adapter is None


def select(tenant: Tenant, model: str | None, view: View) -> Target:
    """Raises ModelNotFound. Remembered for as long as the view is: names that mean something are
    few, and those that mean nothing are not remembered."""
    key = (tenant.name, model)
    target = view.memo.get(key)
    if not isinstance(target, Target):
        target = view.memo[key] = _select(tenant, model, view)
    return target


LIVE, CANARY, SHADOW = "live", "canary", "shadow"
"""What a version is for a request that came by an alias; "" for every other way. And CONTROL: the
base in the place of a live version."""


def choose(target: Target, key: int) -> tuple[Version | None, str]:
    """The version that answers, and what it is: LIVE, CANARY or ""; or None, which is CONTROL.

    `key`: 64 bits that are the same for all requests of a conversation (router/conversation.py).
    As the weight grows, those who were with the canary stay with it, and those who are with the
    base, at the other end, come last.
    """
    alias = target.alias
    if alias is None or target.version is None:
        return target.version, ""
    if target.canary is not None and key / 2**64 < alias.canary_weight:
        return target.canary, CANARY
    if target.control and key / 2**64 >= 1 - target.control:
        return None, CONTROL
    return target.version, LIVE


def _select(tenant: Tenant, model: str | None, view: View) -> Target:
    snapshot = view.snapshot
    name = model or tenant.default_alias
    if not name:
        base = view.bases[0] if view.bases else None
        return Target(asked=base or "base", base=base)
    alias = snapshot.aliases.get((tenant.name, name))
    if alias is not None:
        return _of_alias(name, alias, view, tenant.control_share)
    version = snapshot.served.get(name) or view.fine_tuned.get(name)
    if version is not None and version.tenant == tenant.name and version.state in SERVABLE:
        return Target(
            asked=name, adapter=version.adapter, version=version, base=base_of(version, view)
        )
    if name in view.bases:
        return Target(asked=name, base=name)
    raise ModelNotFound(name)


def base_of(version: Version, view: View) -> str | None:
    """The served name of a version's base, where an engine has one by that name."""
    base = version.manifest.get("base")
    return base if isinstance(base, str) and base in view.bases else None


def _is_on_trial(version: Version) -> bool:
    """Whether a canary or shadow may meet traffic: the engine's check is behind it."""
    return version.state in SERVABLE and bool(version.certificate)


def _of_alias(name: str, alias: Alias, view: View, control: float) -> Target:
    versions = view.snapshot.versions
    live = versions.get(alias.live) if alias.live else None
    previous = versions.get(alias.previous) if alias.previous else None
    if previous is not None and previous.state not in SERVABLE:
        previous = None
    canary = versions.get(alias.canary) if alias.canary and alias.canary_weight > 0 else None
    shadow = versions.get(alias.shadow) if alias.shadow and alias.shadow_share > 0 else None
    known = live or previous
    base = base_of(known, view) if known else None
    return Target(
        asked=name,
        alias=alias,
        adapter=alias.adapter,
        version=live,
        previous=previous,
        base=base,
        policy=alias.fallback,
        wait_ms=alias.wait_ms,
        canary=canary if canary is not None and _is_on_trial(canary) else None,
        shadow=shadow if shadow is not None and _is_on_trial(shadow) else None,
        control=control if live is not None and base is not None else 0.0,
    )
