"""A curl line for each tenant: how to talk to the platform that has just come up."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cli.home import Home
    from registry import Registry

QUESTION = [{"role": "user", "content": "Hello! What can you do?"}]


def lines(home: Home, registry: Registry, url: str) -> list[str]:
    """What `up` prints when everything is ready.

    Keys can't be read back from the registry; those of the demo's tenants are in the home folder.
    """
    tenants = registry.tenants.all()
    if not tenants:
        return [
            f"ready at {url}/v1, with no tenants yet. A first one:",
            "  switchyard tenant create acme && switchyard key create acme",
            "or the demo's, with their keys: switchyard up --demo",
        ]
    demo = home.demo_tenants()
    found = [f"ready at {url}/v1"]
    unknown = False
    for tenant in tenants:
        known: dict[str, Any] = demo.get(tenant.name, {})
        model = tenant.default_alias
        if model is None:
            model = next((engine.base for engine in registry.engines.all()), "switchyard-tiny")
        variable = f"${tenant.name.upper().replace('-', '_')}_KEY"
        unknown = unknown or "key" not in known
        found.append(f"\n{tenant.name} ({model}):")
        found.append(
            line(url, known.get("key", variable), model, known.get("messages") or QUESTION)
        )
    if unknown:
        found.append("\nA key is shown only once, at birth: `switchyard key create TENANT`")
    return found


def line(url: str, key: str, model: str, messages: list[dict[str, str]]) -> str:
    """One request as a shell command."""
    body = json.dumps({"model": model, "messages": messages}, ensure_ascii=False)
    return (
        f"  curl -s {url}/v1/chat/completions -H 'content-type: application/json' "
        f'-H "authorization: Bearer {key}" -d {shlex.quote(body)}'
    )
