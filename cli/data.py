"""`switchyard data …`: look at a data set before anything is spent on it.

Exit codes: 0 nothing severe, 1 an error among the findings, 2 input that can't be audited.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.errors import UnusableInput
from cli.invocation import AsJson

if TYPE_CHECKING:
    from train.audit.audit import Report
    from train.audit.corpus import Corpus, Source

data = typer.Typer(no_args_is_help=True, help="Data sets: audit, convert.")


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(data, name="data")


@data.callback()
def _group() -> None:
    """Data sets: audit, convert."""


@data.command()
def audit(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="JSON Lines, JSON, CSV, Parquet, text or hf:owner/name."
        ),
    ],
    validation: Annotated[
        Path | None, typer.Option(help="The held-out file: looked through for leaks.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report with pictures here.")] = None,
    max_length: Annotated[
        int, typer.Option(help="Tokens a row, as the job's option.", min=16)
    ] = 1024,
    schema: Annotated[
        Path | None, typer.Option(help="JSON Schema that json answers must match.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="The base's folder, for its tokenizer [the shipped one].")
    ] = None,
    ask: Annotated[
        str | None, typer.Option(help="Ask the base at this OpenAI-compatible URL (…/v1) too.")
    ] = None,
    model: Annotated[str, typer.Option(help="The base's name there.")] = "",
    as_json: AsJson = False,
) -> None:
    """Audit training files: what is wrong with them, where, and what to do about it."""
    from train.audit.audit import audit as audited
    from train.audit.base import verdict
    from train.audit.corpus import Corpus

    corpus = Corpus.read(
        [_source(path) for path in files],
        _source(str(validation)) if validation else None,
        schema=_schema(schema),
        max_length=max_length,
        tokenizer=_tokenizer(base),
    )
    report = audited(corpus)
    if ask is not None:
        report = _asked(report, corpus, ask, model)
    if html is not None:
        _write(html, report, corpus, ", ".join(Path(name).name for name in files))
    if as_json:
        answer, why = verdict(report)
        render.emit({**report.json(), "fine_tune": {"verdict": answer, "because": why}})
    else:
        _print(report)
    if report.severe:
        raise typer.Exit(1)


@data.command()
def convert(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="JSON Lines, JSON, CSV, Parquet, text or hf:owner/name."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write JSON Lines here.")],
    weight: Annotated[
        list[str] | None, typer.Option(help="How often a file's rows count, as FILE=NUMBER.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write any known format as a job's JSON Lines; bad rows are named and left out."""
    from cli.sources import convert as converted
    from cli.sources import weights

    if any(Path(name).resolve() == output.resolve() for name in files):
        raise UnusableInput(f"{output} is among the files: expected another name for the output")
    partial = output.with_name(f"{output.name}.part")
    try:
        with partial.open("wb") as out:
            found = converted(files, weights(files, weight or []), out, quiet=as_json)
        partial.replace(output)
    except OSError as error:
        raise UnusableInput(f"{output}: {error.strerror}; expected a file to write") from None
    finally:
        partial.unlink(missing_ok=True)
    bad = sum(len(one.errors) for one in found)
    if as_json:
        render.emit(
            {
                "output": str(output),
                "files": [
                    {
                        "file": one.source,
                        "rows": one.rows,
                        "kind": next(iter(one.kinds), None),
                        "errors": [str(error) for error in one.errors],
                    }
                    for one in found
                ],
            }
        )
    else:
        for one in found:
            kind = next(iter(one.kinds), "no")
            print(f"{one.source}: {one.rows} {kind} rows, {len(one.errors)} bad")
            for wrong in one.errors[:20]:
                print(f"  {wrong}")
    if bad:
        raise typer.Exit(1)


def _asked(report: Report, corpus: Corpus, url: str, model: str) -> Report:
    from train.audit.base import Unanswered, client, measured, told

    if not model:
        raise typer.BadParameter("--ask needs --model: the base's name at that URL")
    answers = {"schema": corpus.schema} if corpus.schema else {}
    try:
        figures = measured(
            corpus, client(url, model, os.environ.get("OPENAI_API_KEY", "")), answers
        )
    except Unanswered as error:
        raise UnusableInput(f"the base did not answer: {error}") from None
    return told(report, figures)


def _print(report: Report) -> None:
    from train.audit.base import verdict
    from train.audit.codes import CODES
    from train.audit.page import rows_text

    if report.findings:
        render.table(
            ["severity", "code", "rows", "where", "what to do"],
            [
                [
                    finding.severity,
                    finding.code,
                    str(finding.count) if finding.places else "all",
                    rows_text(finding) or render.cell(dict(finding.figures)),
                    CODES[finding.code].advice,
                ]
                for finding in report.findings
            ],
        )
    print(report.summary)
    if base := report.figures.get("base"):
        print(
            f"the base on {base['rows']} rows: {base['zero_shot']:.2f} without examples, "
            f"{base['few_shot']:.2f} with"
        )
    answer, why = verdict(report)
    print(f"fine-tune: {answer}, because {why}")


def _write(path: Path, report: Report, corpus: Corpus, title: str) -> None:
    from train.audit.page import page

    path.write_text(page(report, corpus, title), "utf-8")


def _source(name: str) -> Source:
    from train.audit.corpus import Source
    from train.formats.containers import Unreadable
    from train.formats.reading import iter_rows, plain

    nothing = UnusableInput(f'{name} holds no rows: expected one {{"messages": […]}} object a line')
    if not plain(name):
        try:
            rows = list(iter_rows(name))
        except OSError as error:
            raise UnusableInput(
                f"{name}: {error.strerror}; expected JSON Lines with training examples"
            ) from None
        except Unreadable as error:
            raise UnusableInput(str(error)) from None
        if not rows:
            raise nothing
        return Source(name, rows=rows)
    content = _bytes(Path(name), "JSON Lines with training examples")
    if not content.strip():
        raise nothing
    return Source(name, content)


def _schema(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from train.audit.forms import check_schema

    try:
        value = json.loads(_bytes(path, "a JSON Schema"))
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UnusableInput(f"{path} is not a JSON Schema: expected an object")
    if wrong := check_schema(value):
        raise UnusableInput(f"{path} is not a JSON Schema: {wrong}")
    return value


def _tokenizer(base: Path | None) -> Any:
    from tokenizers import Tokenizer

    from train.settings import SHIPPED_BASE

    path = (base or SHIPPED_BASE) / "tokenizer.json"
    content = _bytes(path, "a base model's tokenizer")
    try:
        return Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises this class itself
        raise UnusableInput(f"{path} is not a tokenizer: {error}") from None


def _bytes(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}; expected {expected}") from None
