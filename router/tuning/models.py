"""Deleting a fine-tuned model: its version is rejected, so nothing answers to its name any more."""

from __future__ import annotations

from typing import Any

from registry import Registry
from registry.errors import InvalidTransition
from registry.tenants import Tenant
from router.errors import Conflict, InvalidRequest, ModelNotFound
from router.select import select
from router.view import View


def delete(registry: Registry, tenant: Tenant, name: str, view: View) -> dict[str, Any]:
    """Raises ModelNotFound, InvalidRequest (a base, an alias), Conflict (it is in an alias)."""
    target = select(tenant, name, view) if name else None
    if target is None:
        raise ModelNotFound(name)
    if target.alias is not None or target.version is None:
        raise InvalidRequest(
            f"`{name[:200]}` can't be deleted: expected one of your fine-tuned models, by its "
            "exact name.",
            param="model",
            code="invalid_value",
        )
    digest = target.version.digest
    for alias in registry.aliases.all(tenant.name):
        if digest in (alias.live, alias.canary, alias.shadow):
            raise Conflict(f"The alias `{alias.name}` stands for this model.", param="model")
    version = registry.versions.get(digest)
    try:
        if version.state == "retired":  # only a candidate can go from there
            registry.versions.move(digest, "candidate")
        registry.versions.move(digest, "rejected", {"rejected_because": "deleted by tenant"})
    except InvalidTransition:
        raise Conflict("Somebody else changes this model at the moment.", param="model") from None
    return {"id": name, "object": "model", "deleted": True}
