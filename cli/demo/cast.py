"""The demo's tenants: who they are, what data they have, and their keys.

acme routes support tickets to a label, lex turns contract clauses into JSON, solo has no adapter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CliError

if TYPE_CHECKING:
    from cli.home import Home
    from registry import Registry

Message = dict[str, str]


@dataclass(frozen=True)
class Member:
    """One tenant of the demo. `adapter` is None for one that is served by the base.

    `training` is what examples/README.md found to suit this data and the base that is shipped.
    """

    name: str
    adapter: str | None = None
    kind: str = "text"
    store_text: bool = False
    training: dict[str, Any] = field(default_factory=dict)


ACME = Member(
    "acme",
    "tickets",
    "label",
    store_text=True,  # its corrections become training data
    training={"epochs": 4.0},
)
LEX = Member(
    "lex",
    "clauses",
    "json",
    training={"learning_rate": 5e-3, "dropout": 0.0, "epochs": 3.0},  # copying wants no noise
)
SOLO = Member("solo")
EVERYBODY = (ACME, LEX, SOLO)


def examples_folder() -> Path:
    """Where the tenants' data lies: beside the packages, as in a clone of the repository."""
    return Path(__file__).resolve().parents[2] / "examples"


def rows(path: Path) -> list[list[Message]]:
    """The conversations of a `messages` JSONL; lines that are not one are left out."""
    if not path.is_file():
        raise CliError(
            f"{path} is missing: the demo needs the repository's examples/; run it in a clone, or "
            "name the folder with --examples"
        )
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # the training files have bad rows on purpose
        if isinstance(value, dict) and isinstance(value.get("messages"), list):
            found.append(value["messages"])
    return found


def ensure(home: Home, registry: Registry, examples: Path | None = None) -> dict[str, str]:
    """The tenants with a key each, made where they are missing; {tenant: secret}."""
    from registry.errors import NotFound

    known = home.demo_tenants()
    folder = examples or examples_folder()
    for member in EVERYBODY:
        try:
            registry.tenants.get(member.name)
        except NotFound:
            registry.tenants.create(member.name, store_text=member.store_text)
            known.pop(member.name, None)  # a key of an earlier life opens nothing
        if member.name not in known:
            secret = registry.tenants.create_key(member.name, "demo").secret
            known[member.name] = {"key": secret, "messages": _sample(folder, member)}
    home.save_demo_tenants(known)
    return {name: str(value["key"]) for name, value in known.items()}


def _sample(folder: Path, member: Member) -> list[dict[str, Any]] | None:
    """A prompt for the tenant's curl line."""
    name = "prompts.jsonl" if member.adapter is None else "heldout.jsonl"
    path = folder / member.name / name
    found = rows(path) if path.is_file() else []
    return [m for m in found[0] if m["role"] != "assistant"] if found else None
