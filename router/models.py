"""`/v1/models`: a tenant's own aliases and versions, and the bases. Nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.tenants import Tenant
from router.errors import ModelNotFound
from router.select import SERVABLE, select
from router.view import View


def catalogue(tenant: Tenant, view: View) -> list[dict[str, Any]]:
    """Everything that the tenant may put into `model`, in a stable order."""
    return [*_aliases(tenant, view), *_versions(tenant, view), *_bases(view)]


def find(tenant: Tenant, name: str, view: View) -> dict[str, Any]:
    """One of them. Raises ModelNotFound."""
    if name:
        select(tenant, name, view)
        for model in catalogue(tenant, view):
            if model["id"] == name:
                return model
    raise ModelNotFound(name)


def _aliases(tenant: Tenant, view: View) -> Iterator[dict[str, Any]]:
    for (owner, name), alias in sorted(view.snapshot.aliases.items()):
        if owner == tenant.name:
            live = view.snapshot.versions.get(alias.live) if alias.live else None
            yield _model(name, alias.updated_at, owner, root=live.served_name if live else None)


def _versions(tenant: Tenant, view: View) -> Iterator[dict[str, Any]]:
    for name, version in sorted(view.snapshot.served.items()):
        if version.tenant == tenant.name and version.state in SERVABLE:
            parent = version.manifest.get("base")
            yield _model(name, version.created_at, tenant.name, parent=parent)


def _bases(view: View) -> Iterator[dict[str, Any]]:
    for base in sorted(view.bases):
        started = [e.started_at for e in view.snapshot.engines if e.base == base]
        yield _model(base, min(started), "switchyard")


def _model(
    name: str, created: float, owner: str, *, root: str | None = None, parent: str | None = None
) -> dict[str, Any]:
    """OpenAI's fields, and vLLM's `root` (what an alias stands for now) and `parent` (its base)."""
    return {
        "id": name,
        "object": "model",
        "created": int(created),
        "owned_by": owner,
        "root": root or name,
        "parent": parent,
    }
