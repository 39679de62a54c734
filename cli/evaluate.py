"""`switchyard evaluate`: any published version, asked through an engine, against base and rival."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.errors import NotEvaluated, UnusableInput
from cli.invocation import AsJson, Invocation, TenantOption, opened

if TYPE_CHECKING:
    from registry import Registry
    from registry.versions import Version
    from train.engine import Engine
    from train.general import General
    from train.judge import Judge
    from train.rows import Row

EXIT = {"promote": 0, "reject": 1, "insufficient": 3}
"""The exit code of each verdict; 2 is for what can't be evaluated."""
KEY = "SWITCHYARD_EVALUATE_KEY"
"""The environment variable with the key of an engine that is none of this home's."""
_SPARE_TOKENS = 8
_LIVE, _PARENT = "live", "parent"


def attach(app: typer.Typer) -> None:
    """Put the command under `app`."""
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Served name, digest or its first digits.")],
    tenant: TenantOption,
    data: Annotated[str, typer.Option(help="Held-out rows, in any form that train takes.")],
    engine: Annotated[
        str | None,
        typer.Option(
            help="An engine's address [one that is ready]. One that is not in the registry gets "
            f"the key in {KEY}, if any."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A rival: live, parent or a version [live, if it is another]."),
    ] = None,
    examples: Annotated[
        str | None, typer.Option(help="Rows that the base gets as examples [none].")
    ] = None,
    few_shot: Annotated[int, typer.Option(help="How many of them.", min=0, max=64)] = 8,
    limit: Annotated[int, typer.Option(help="At most so many rows, by their hash.", min=1)] = 200,
    min_effect: Annotated[
        float | None,
        typer.Option(help="The smallest gain that matters [the adapter's].", min=0.001, max=0.9),
    ] = None,
    general: Annotated[
        Path | None,
        typer.Option(
            help="Chats that show what it forgot [its job's, the worker's, made-up ones]."
        ),
    ] = None,
    max_forgetting: Annotated[
        float | None,
        typer.Option(help="By which share perplexity on them may rise [the adapter's].", min=0.0),
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="Of a million tokens, for the cost.", min=0.0)
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(
            help="An OpenAI-compatible server that scores texts; it gets the rows. Its key is "
            "SWITCHYARD_WORKER_JUDGE_API_KEY."
        ),
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="The judge's model.")] = None,
    judge_rubric: Annotated[
        str | None, typer.Option(help="What its scores from 1 to 5 stand for.")
    ] = None,
    judge_limit: Annotated[int, typer.Option(help="At most so many rows are judged.", min=1)] = 100,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a version through the engine. Exit code 0: promote; 1: reject; 3: insufficient."""
    from train.answers import Answers
    from train.engine import EngineError
    from train.evaluation import min_effect as agreed
    from train.exam import examine, prepare
    from train.forgetting import max_forgetting as allowed

    judge = _judge(judge_url, judge_model, judge_rubric, judge_limit)
    rows = _rows(data)[:limit]
    shots, left_out = _shots(examples, rows)
    shots = shots[:limit]
    with opened(context) as registry:
        found = registry.versions.find(tenant, version)
        rival = _rival(registry, found, against)
        answers = registry.adapters.get(tenant, found.adapter).answers
        asked = _engine(context, registry, found, engine)
        chats = _general(context, registry, found, general)
    allowance = allowed(answers) if max_forgetting is None else max_forgetting
    wanted = Answers.of(answers, [row.answer for row in (*shots, *rows)])
    if judge is not None and wanted.kind != "text":
        raise NotEvaluated(
            f"{found.adapter} answers with {wanted.kind}: a judge is asked about texts only; leave "
            "--judge-url out"
        )
    base = str(found.manifest["base"])
    matters = agreed(answers) if min_effect is None else min_effect
    systems = {"base_zero_shot": base, "base_few_shot": base if shots else None,
               "parent": rival.served_name if rival else None,
               "adapter": found.served_name}  # fmt: skip
    try:
        exam = prepare(
            rows,
            shots,
            wanted,
            few_shot=few_shot,
            max_tokens=max(asked.count(base, row.answer) for row in rows) + _SPARE_TOKENS,
            min_effect=matters,
            general=chats,
            max_forgetting=allowance,
        )
        judged_rows = 0 if judge is None else min(len(rows), judge.limit)
        steps = (len(rows) + judged_rows) * sum(bool(m) for m in systems.values())
        with _progress(steps, quiet=as_json) as told:
            evaluation = examine(
                exam.asking({name: model for name, model in systems.items() if model}, price),
                asked,
                told=told,
                judge=judge,
            )
    except EngineError as error:
        raise NotEvaluated(f"the engine could not be asked: {error}") from None
    judged = evaluation.judge(min_effect=matters)
    figures = {**evaluation.figures, "examples_left_out": left_out}
    _show(found, rival, figures, judged, html, as_json)
    if judged.verdict != "promote":
        raise typer.Exit(EXIT[judged.verdict])


def _show(
    version: Version,
    rival: Version | None,
    figures: dict[str, Any],
    judged: Any,
    html: Path | None,
    as_json: bool,
) -> None:
    from cli.evaluations import emit_fields, emit_judge, emit_table
    from train.report.forgot import forgot
    from train.report.page import Judged, page, side_by_side

    versions = {version.served_name: Judged(figures, judged.verdict, judged.reasons)}
    if rival is not None:
        versions = {
            f"rival {rival.served_name}": Judged({**figures, "adapter": figures["parent"]}),
            **versions,
        }
    if html is not None:
        html.write_text(page(versions, f"{version.served_name}, through the engine"), "utf-8")
    if as_json:
        render.emit(
            {
                "version": version.served_name,
                "rival": rival.served_name if rival else None,
                "verdict": judged.verdict,
                "reasons": judged.reasons,
                "evaluation": figures,
            }
        )
        return
    emit_table(side_by_side(versions))
    emit_fields(figures)
    emit_judge(figures.get("judge"))
    if line := forgot(figures):
        print(line)
    print(f"{version.served_name}: {judged.verdict}. {judged.reasons['summary']}")


def _rows(source: str) -> list[Row]:
    """All that can be asked or shown, in the order of their hashes. Raises UnusableInput."""
    from train.formats.containers import Unreadable
    from train.formats.reading import iter_rows
    from train.rows import RowError
    from train.split import rank_by_hash

    try:
        found = [*iter_rows(source)]
    except (OSError, Unreadable) as error:
        raise UnusableInput(f"{source} can't be read: {error}") from None
    bad = [row for row in found if isinstance(row, RowError)]
    if bad:
        raise UnusableInput(f"{source}: {bad[0]}; {len(bad)} rows are not valid. Mend them first")
    rows = [row for row in found if not isinstance(row, RowError)]
    rows = [row for row in rows if row.good and row.kind != "text"]
    if not rows:
        raise UnusableInput(f"{source} holds no rows with a question and an answer")
    return rank_by_hash(rows, "evaluation-1")


def _shots(source: str | None, rows: list[Row]) -> tuple[list[Row], int]:
    """Rows to show as examples, and how many are not, as they would give answers away. Raises
    UnusableInput where none is left."""
    from train.split import apart

    found = _rows(source) if source is not None else []
    kept = apart(found, rows)
    left_out = len(found) - len(kept)
    if left_out and not kept:
        raise UnusableInput(f"{source}: every row is asked, too; expected other rows as examples")
    if left_out:
        text = f"{left_out} of {len(found)} examples are left out: they, or their group, are asked"
        print(text, file=sys.stderr)
    return kept, left_out


def _general(
    context: typer.Context, registry: Registry, version: Version, path: Path | None
) -> General:
    """The rows that show what was forgotten. Raises CliError, SettingsError."""
    from cli import room_settings
    from cli.training import read_general
    from registry.errors import NotFound
    from train.general import made_up, of_file

    settings = room_settings.worker(Invocation.of(context).home)
    uploaded = (version.manifest.get("training") or {}).get("general")
    if path is None and uploaded is not None:
        with suppress(NotFound):  # deleted since: the worker's is left
            content = registry.content(version.tenant, uploaded)
            return of_file(content, uploaded, settings.general_rows)
    path = path or settings.general
    if path is None:
        return made_up(settings.general_rows)
    return of_file(read_general(path), str(path), settings.general_rows)


def _rival(registry: Registry, version: Version, against: str | None) -> Version | None:
    """Whom it is compared with beside the base. Raises NotFound, NotEvaluated."""
    if against not in (None, _LIVE, _PARENT):
        return registry.versions.find(version.tenant, against)
    if against == _PARENT:
        if version.parent is None:
            raise NotEvaluated(
                f"{version.served_name} has no parent: name a version, or leave it out"
            )
        return registry.versions.get(version.parent)
    for alias in registry.aliases.of_adapter(version.tenant, version.adapter):
        if alias.live is not None and alias.live != version.digest:
            return registry.versions.get(alias.live)
    if against == _LIVE:
        raise NotEvaluated(f"no other version of {version.tenant}/{version.adapter} is live")
    return None


def _engine(
    context: typer.Context, registry: Registry, version: Version, url: str | None
) -> Engine:
    """The home's own key goes to engines of the home's registry only. Raises NotEvaluated where
    there is no engine."""
    from train.engine import Engine

    home = Invocation.of(context).home
    base = version.manifest["base"]
    url = url or next((e.url for e in registry.engines.ready() if e.base == base), None)
    if url is None:
        raise NotEvaluated(
            f"no engine for {base} is ready: start one (`switchyard up`), or name one by --engine"
        )
    own = url.rstrip("/") in {e.url.rstrip("/") for e in registry.engines.all()}
    return Engine(url, home.engine_key() if own else home.environ.get(KEY) or None)


def _judge(url: str | None, model: str | None, rubric: str | None, limit: int) -> Judge | None:
    """Raises typer.BadParameter."""
    from train.judge import KEY, RUBRIC, Judge

    if url is None and model is None:
        return None
    if url is None or model is None:
        raise typer.BadParameter("--judge-url and --judge-model go together")
    try:
        return Judge(url, model, rubric or RUBRIC, limit, os.environ.get(KEY))
    except ValueError as error:
        raise typer.BadParameter(f"--judge-url: {error}") from None


def _progress(total: int, *, quiet: bool) -> Any:
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def shown() -> Any:
        screen = render.console(stderr=True)
        with Progress(console=screen, disable=quiet or not screen.is_terminal) as progress:
            task = progress.add_task("asking", total=total)
            yield lambda: progress.advance(task)

    return shown()
