"""The model card, README.md in the adapter's folder: what the manifest says, for people.

Holds what is known when training ends, and no text of the tenant's. How the version did is in the
registry, not here: a version is named by its files' digest, and is judged, certified and given
traffic only after that. Imports no torch.
"""

from __future__ import annotations

import json
from typing import Any

_SHOWN = (
    ("objective", "objective"),
    ("method", "method"),
    ("preset", "preset"),
    ("rank", "rank"),
    ("alpha", "alpha"),
    ("learning_rate", "learning rate"),
    ("epochs", "epochs, at most"),
    ("batch_size", "batch size"),
    ("gradient_accumulation", "batches to a step"),
    ("max_length", "most tokens a row"),
    ("dropout", "dropout"),
    ("warmup", "warm-up"),
    ("patience", "patience, epochs"),
    ("quantize", "base held in"),
    ("replay", "general rows to each"),
    ("replay_source", "general rows from"),
    ("seed", "seed"),
)


def text(facts: dict[str, Any]) -> str:
    """The card of a manifest. Same manifest, same bytes."""
    parts = [_front(facts), _what(facts), _options(facts["training"])]
    if "search" in facts:
        parts.append(_search(facts["search"]))
    parts += [_result(facts["trained"]), _limits(facts), _again(facts)]
    return "\n\n".join(parts) + "\n"


def _front(facts: dict[str, Any]) -> str:
    # JSON strings are YAML strings, whatever is in them.
    tags = ["lora", "switchyard", facts["training"]["objective"]]
    lines = [
        "---",
        f"base_model: {json.dumps(facts['base'])}",
        "library_name: peft",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in tags),
        "---",
    ]
    return "\n".join(lines)


def _what(facts: dict[str, Any]) -> str:
    rows = facts["rows"]
    counted = (
        f"{rows['train']} rows to learn from, {rows['validation']} to stop by" if rows else "rows"
    )
    base = f"{facts['base']}"
    if facts["base_revision"]:
        base += f" at {facts['base_revision']}"
    lines = [
        f"# {facts['adapter']}",
        "",
        f"A LoRA adapter of tenant {facts['tenant']} on {base}, made by {facts['created_by']}.",
        "",
        f"Trained on {counted}, whose digest is `{facts['dataset_sha256']}`. "
        "None of their text is in this folder but the conversations in `probes.json`, by which the "
        "engine is checked.",
    ]
    if facts["parent"]:
        lines += ["", f"Held against the version `{facts['parent']}`."]
    return "\n".join(lines)


def _options(training: dict[str, Any]) -> str:
    return _table(
        "Options",
        ("option", "value"),
        [(label, _value(training[name])) for name, label in _SHOWN if name in training],
    )


def _search(search: dict[str, Any]) -> str:
    names = ("trial", "learning_rate", "rank", "epochs", "dropout", "state", "validation_loss")
    rows = [tuple(_value(trial[name]) for name in names) for trial in search["trials"]]
    return _table("Search", tuple(name.replace("_", " ") for name in names), rows)


def _result(trained: dict[str, Any]) -> str:
    return _table(
        "Training",
        ("figure", "value"),
        [(name.replace("_", " "), _value(value)) for name, value in trained.items()],
    )


def _limits(facts: dict[str, Any]) -> str:
    return "\n".join(
        [
            "## Limits",
            "",
            "For the task of its rows and for this base only: the manifest's hashes say which. The",
            "validation loss chose the epoch"
            + (" and the options" if "search" in facts else "")
            + ", and so flatters. The evaluation on rows",
            "held out, the verdict, the engine's certificate and what traffic said are in the",
            f"registry: `switchyard adapter show {facts['adapter']} --tenant {facts['tenant']}`.",
        ]
    )


def _again(facts: dict[str, Any]) -> str:
    made = ", ".join(f"{name} {value}" for name, value in sorted(facts["made_with"].items()))
    return "\n".join(
        [
            "## To make it again",
            "",
            f"`switchyard adapter reproduce VERSION --tenant {facts['tenant']}` trains it anew and",
            "compares the files, VERSION being this folder's digest. The same bytes can be hoped",
            f"for with the same: {made}.",
        ]
    )


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
