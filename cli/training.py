"""`switchyard train`: a tenant's data becomes a job, and the job becomes a candidate version.

The files are read and checked here, before anything is uploaded: bad rows are named by line, field
and what was expected.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import lineage, render
from cli.errors import BadRows, CliError
from cli.invocation import AsJson, TenantOption, opened

if TYPE_CHECKING:
    from registry import Registry
    from registry.versions import Version

KINDS = ("label", "json", "text")
_SWAP_S = 60.0
_WAY_ON = {
    "live": "{} is live: requests for its alias get it from now on",
    "rejected": "{} was rejected; what was live before stays",
    "held": "{} answers to its own name; no alias stands for it",
    "candidate": "{} is a candidate; `switchyard adapter promote` asks for it to be live",
    "shadow": "{} is a shadow",
    "canary": "{} is a canary",
    "retired": "{} was live and is no longer: a later version took its place",
}
OF_ONE_JOB = frozenset({"seed", "suffix", "parent", "gain_on", "base", "keep_good_rows"})
"""Options that say nothing about how the adapter is best trained the next time."""


def attach(app: typer.Typer) -> None:
    """Put the command under `app`."""
    app.command()(train)


def train(
    context: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...", help="JSON Lines, JSON, CSV, Parquet, text or hf:owner/name."
        ),
    ],
    tenant: TenantOption,
    adapter: Annotated[str, typer.Option("--adapter", "-a", help="Made if it isn't there.")],
    rank: Annotated[int | None, typer.Option(help="The one dial: 8, 16, 32 … [16].")] = None,
    epochs: Annotated[float | None, typer.Option(help="At most so many passes.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="small-data (under 500 rows: rank 4, early stopping), balanced, or thorough "
            "(rank 32, 8 epochs, a search) [balanced]."
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Learn answers (sft), preferences (dpo, kto) or text (pretrain) [sft]."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="lora, rslora, dora, or full; all are served as plain LoRA [lora]."),
    ] = None,
    search: Annotated[
        int | None, typer.Option(help="Try so many sets of options first; 0 is none [0].")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    base: Annotated[str | None, typer.Option(help="The base model [the engine's].")] = None,
    kind: Annotated[
        str | None, typer.Option(help="An answer is a label, json or text [seen from the data].")
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="JSON Schema that json answers must match.")
    ] = None,
    keep_good_rows: Annotated[
        bool, typer.Option("--keep-good-rows", help="Leave bad rows out instead of refusing.")
    ] = False,
    general: Annotated[
        Path | None,
        typer.Option(help="Chats that it should not forget, JSON Lines [the worker's]."),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="How often a file's rows count, as FILE=NUMBER.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other option, as name=value.")
    ] = None,
    follow: Annotated[bool, typer.Option(help="Show progress until the job ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train an adapter on a tenant's examples, and publish it as a candidate."""
    options: dict[str, Any] = {
        name: value
        for name, value in {
            "rank": rank,
            "epochs": epochs,
            "preset": preset,
            "objective": objective,
            "method": method,
            "search": search,
            "seed": seed,
        }.items()
        if value is not None
    }
    options |= {name: value for name, value in map(_assignment, set_ or [])}
    filename, content = gathered(data, weight or [], keep_good_rows)
    if keep_good_rows:
        options["keep_good_rows"] = True
    answers = _answers(kind, schema)
    chats = None if general is None else (general.name, read_general(general))
    with opened(context) as registry:
        job_id = submit(
            registry,
            tenant,
            adapter,
            filename,
            content,
            options,
            base=base,
            answers=answers,
            general=chats,
        )
        if not follow:
            value: dict[str, Any] = {"job": job_id}
            if not as_json:
                print(f"{job_id} waits for a worker; `switchyard job events {job_id} --follow`")
        else:
            value = _followed(registry, job_id, quiet=as_json)
    if as_json:
        render.emit(value)


def gathered(
    sources: list[str], weight: list[str], keep_good_rows: bool = False
) -> tuple[str, bytes]:
    """The name and bytes of one upload from all sources. Raises BadRows, CliError."""
    from cli.sources import convert, refuse_bad, weights

    weighed = weights(sources, weight)
    if len(sources) == 1 and not weight and Path(sources[0]).suffix == ".jsonl":
        return Path(sources[0]).name, checked(Path(sources[0]), keep_good_rows)
    out = io.BytesIO()
    refuse_bad(convert(sources, weighed, out), keep_good_rows)
    name = Path(sources[0].replace(":", "-")).stem
    return f"{name}.jsonl", out.getvalue()


def checked(path: Path, keep_good_rows: bool = False) -> bytes:
    """A JSON Lines file's bytes. Raises BadRows, CliError before anything has been sent."""
    from train.rows import parse

    if not path.is_file():
        raise CliError(f"{path} is not a file: expected JSON Lines with training examples")
    content = path.read_bytes()
    good, errors = parse(content)
    if errors and not (keep_good_rows and good):
        raise BadRows(path, [str(error) for error in errors], len(good))
    if not good:
        raise CliError(f'{path} holds no rows: expected one {{"messages": […]}} object a line')
    return content


def read_general(path: Path) -> bytes:
    """A general set's bytes. Raises CliError where it is none."""
    from train.errors import InvalidSpec
    from train.general import of_file

    try:
        content = path.read_bytes()
        of_file(content, str(path))
    except OSError as error:
        raise CliError(f"{path} can't be read: {error.strerror}") from None
    except InvalidSpec as error:
        raise CliError(error.message) from None
    return content


def submit(
    registry: Registry,
    tenant: str,
    adapter: str,
    filename: str,
    content: bytes,
    options: dict[str, Any],
    *,
    base: str | None = None,
    answers: dict[str, Any] | None = None,
    general: tuple[str, bytes] | None = None,
) -> str:
    """Upload, make the adapter and its alias where they are missing, enqueue; the job's id.
    `general` is the general set's name and bytes.

    The first job's options become the adapter's: later jobs, retraining included, start from them.

    Raises NotFound (the tenant), InvalidName, CliError (the options, an adapter of another base).
    """
    from cli.base import served_base
    from train.errors import InvalidSpec
    from train.spec import TrainingSpec

    try:
        TrainingSpec.parse(options)
    except InvalidSpec as error:
        raise CliError(error.message) from None
    registry.tenants.get(tenant)
    wanted = base or served_base(registry)
    made = registry.adapters.ensure(tenant, adapter, wanted)
    if made.base != wanted and base is not None:
        raise CliError(
            f"{tenant}/{adapter} belongs to base {made.base!r}, not to {base!r}: an adapter keeps "
            "its base for good; train under another adapter name"
        )
    if answers:
        registry.adapters.update(tenant, adapter, answers={**made.answers, **answers})
    if general is not None:
        options = {**options, "general": registry.upload(tenant, *general)}
    if not made.training:
        kept = {name: value for name, value in options.items() if name not in OF_ONE_JOB}
        registry.adapters.update(tenant, adapter, training=kept)
    registry.aliases.ensure(tenant, adapter, adapter)
    file_id = registry.upload(tenant, filename, content)
    spec = {**made.training, **options}
    return registry.jobs.enqueue(tenant, adapter, file_id, spec=spec).id


def _followed(registry: Registry, job_id: str, *, quiet: bool) -> dict[str, Any]:
    from cli import jobs
    from cli.errors import JobFailed
    from cli.follow import follow, watch

    if quiet:
        job = watch(registry, job_id, lambda _: None, lambda _: None)
        if job.state != "succeeded":
            raise JobFailed(jobs.failure(job))
    else:
        job = follow(registry, job_id)
    assert job.digest is not None, "a job that succeeded has made a version"
    version = registry.versions.get(job.digest)
    if not quiet:
        print(f"{version.served_name}: {version.verdict}. {lineage.summary(version.reasons)}")
    version = _swapped(registry, version)
    if not quiet:
        print(_WAY_ON[version.state].format(version.served_name))
    return {"job": job_id, **lineage.of_version(registry, version)}


def _swapped(registry: Registry, version: Version) -> Version:
    """The version as it is once the controller has had its say, where that is to be expected."""
    from cli.adapters import settled

    waits = version.verdict == "promote" and not registry.tenants.get(version.tenant).auto_promote
    if waits or not registry.engines.ready():
        return version
    try:
        return settled(registry, version.digest, _SWAP_S)
    except CliError:  # no controller, or a busy one: the job has succeeded all the same
        return registry.versions.get(version.digest)


def _answers(kind: str | None, schema: Path | None) -> dict[str, Any]:
    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"--kind {kind!r}: expected one of {', '.join(KINDS)}")
    answers: dict[str, Any] = {} if kind is None else {"kind": kind}
    if schema is not None:
        try:
            answers |= {"kind": "json", "schema": json.loads(schema.read_text())}
        except ValueError as error:
            raise CliError(f"{schema} is not JSON: {error}") from None
    return answers


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set {text!r}: expected name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # a plain word is a text
