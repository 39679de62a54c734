"""`switchyard adapter report`: an adapter's versions side by side, by their evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.adapters import Name, adapter
from cli.errors import CliError
from cli.invocation import AsJson, TenantOption, opened

if TYPE_CHECKING:
    from registry.versions import Version


def attach(app: typer.Typer) -> None:
    """Put the command under `adapter`, which is under `app`."""
    adapter.command()(report)


def report(
    context: typer.Context,
    name: Name,
    tenant: TenantOption,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one HTML page, with a picture.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many versions, the latest.", min=1)] = 12,
    as_json: AsJson = False,
) -> None:
    """Lay an adapter's versions side by side: base, base with examples, and how each was made."""
    from train.report.page import Judged, page, side_by_side

    with opened(context) as registry:
        registry.adapters.get(tenant, name)
        found = [v for v in registry.versions.all(tenant, name) if v.evaluation.get("adapter")]
    if not found:
        raise CliError(
            f"no version of {tenant}/{name} was measured yet: `switchyard train DATA --tenant "
            f"{tenant} --adapter {name}` measures what it makes on held-out rows"
        )
    versions = {
        title(version): Judged(version.evaluation, version.verdict, version.reasons)
        for version in found[-limit:]
    }
    if html is not None:
        html.write_text(page(versions, f"{name} of {tenant}"), encoding="utf-8")
    rows = side_by_side(versions)
    if as_json:
        render.emit(rows)
        return
    emit_table(rows)
    if html is not None:
        print(f"{html} has it as a page")


def emit_table(rows: list[dict[str, Any]]) -> None:
    """Systems side by side, for people."""
    render.rows(
        [{**row, "95 %": _between(row["interval"])} for row in map(_rounded, rows)],
        ["system", "score", "95 %", "exact", "valid", "perplexity", "n", "error"],
        as_json=False,
        empty="nothing was measured",
    )


def emit_fields(evaluation: dict[str, Any], most: int = 20) -> None:
    """JSON answers field by field, the worst first; nothing for answers of another kind."""
    from train.comparison import SYSTEMS, by_field

    rows = by_field(evaluation)
    if not rows:
        return
    systems = [name for name in SYSTEMS if name in rows[0]]
    lines = [
        {"field": row["field"], "n": row["n"]}
        | {
            f"{name}, {shown}": row[name][what]
            for name in systems
            for what, shown in (("exact", "exact"), ("f1", "F1"))
        }
        for row in rows
    ]
    columns = [name.replace("_", " ") for name in lines[0]]
    cells = [[render.cell(value) for value in _rounded(line).values()] for line in lines]
    more = f", {most} of {len(rows)}" if len(rows) > most else ""
    render.table(columns, cells[:most], title=f"by field, the worst first{more}")


def emit_judge(found: dict[str, Any] | None) -> None:
    """What the judge of texts thinks, in a line; nothing where there is none."""
    if not found:
        return
    if found["error"]:
        print(f"the judge {found['model']} gave no score: {found['error']}")
        return
    scores = ", ".join(
        f"{name.replace('_', ' ')} {render.cell(figures['score'])}"
        for name, figures in found["systems"].items()
    )
    rank = found["agreement"]["spearman"]
    print(
        f"judged by {found['model']} on {found['rows']} rows: {scores}; {found['unreadable']} of "
        f"{found['answers']} replies unreadable; Spearman with the automatic score "
        f"{render.cell(rank)}"
    )


def title(version: Version) -> str:
    """What made it, and which one it is: `dora, rank 16, 3f9c2b7a1d04`."""
    training: dict[str, Any] = version.manifest.get("training", {})
    words = [str(training.get("method", "lora"))]
    if training.get("quantize", "none") != "none":
        words.append(str(training["quantize"]))
    if training.get("objective", "sft") != "sft":
        words.insert(0, str(training["objective"]))
    return f"{' '.join(words)}, rank {version.manifest.get('rank', '?')}, {version.short}"


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: f"{value:.3f}" if isinstance(value, float) else "" if value is None else value
        for key, value in row.items()
    }


def _between(interval: Any) -> str:
    return "" if not interval else f"{interval[0]:.2f}–{interval[1]:.2f}"
