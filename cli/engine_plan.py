"""`switchyard engine plan`: what to start an engine with here, and why; also at its start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render, room_settings
from cli.invocation import AsJson, Invocation, opened

if TYPE_CHECKING:
    from registry import Registry
    from serve.plan import Plan
    from serve.settings import EngineSettings


def engine_plan(
    context: typer.Context,
    working_set: Annotated[
        int | None,
        typer.Option(min=1, help="Adapters asked for within a minute [what traffic was like]."),
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option(min=0.1, help="The engine's memory [what is free here].")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="How far back traffic is looked at.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Plan an engine's LoRA slots, rank and memory for what is asked of it, and say why.

    Exits with 1 when something doesn't fit.
    """
    settings = room_settings.engine(Invocation.of(context).home)
    if memory_gib is not None:
        settings = replace(settings, memory_gib=memory_gib)
    with opened(context) as registry:
        found, about = make(registry, settings, working_set=working_set, hours=hours)
    if as_json:
        render.emit(_json(found, about))
    else:
        print(text(found, about))
    if not found.fits:
        raise typer.Exit(1)


def at_start(registry: Registry, settings: EngineSettings) -> EngineSettings:
    """Settings with what the plan says of adapters; requests and their memory stay as set."""
    import structlog

    found, about = make(registry, settings)
    log = structlog.get_logger("engine.plan")
    log.info("planned", about=about, **{c.setting: f"{c.value}: {c.why}" for c in found.choices})
    for warning in found.warnings:
        log.warning("does not fit", what=warning)
    values: dict[str, Any] = found.values()
    names = ("max_loras", "max_lora_rank", "max_cpu_loras")
    return replace(settings, **{name: values[name] for name in names})


def make(
    registry: Registry,
    settings: EngineSettings,
    *,
    working_set: int | None = None,
    hours: float = 24.0,
) -> tuple[Plan, str]:
    """The plan, and a line that says what was planned for. Raises what reading the base raises."""
    from serve import demand, memory
    from serve.plan import plan, size
    from serve.resolver import base_folder
    from serve.shape import Shape

    folder = base_folder(settings.base)
    config = memory.base_config(folder)
    dtype = settings.dtype or ("float32" if settings.device == "cpu" else "auto")
    shape = Shape.of(config, dtype, settings.tensor_parallel_size)
    found = memory.find(settings, folder, config, shape)
    asked = demand.find(registry, settings, working_set=working_set, hours=hours)
    about = (
        f"{settings.name} on a {settings.device.upper()}, {size(found.device)} "
        f"({found.device_from}), of which the model takes {size(found.weights)} and the process "
        f"{size(found.runtime)}; {len(asked.adapters)} versions may be asked for"
    )
    return plan(shape, found, asked, default_rank=settings.max_lora_rank), about


def text(found: Plan, about: str) -> str:
    """For people: a setting a line, as an environment file has it, with its reason."""
    width = max(len(_setting(choice.setting, choice.value)) for choice in found.choices)
    lines = [f"# {about}"]
    for choice in found.choices:
        lines.append(f"{_setting(choice.setting, choice.value):{width}}  # {choice.why}")
    lines += [f"# {line}" for line in found.economics]
    lines += [f"# DOES NOT FIT: {warning}" for warning in found.warnings]
    return "\n".join(lines)


def _setting(name: str, value: float) -> str:
    return f"{room_settings.ENGINE}{name.upper()}={value}"


def _json(found: Plan, about: str) -> dict[str, Any]:
    return {
        "for": about,
        "settings": found.values(),
        "why": {choice.setting: choice.why for choice in found.choices},
        "slot_bytes": found.slot_bytes,
        "padding": round(found.padding, 4),
        "economics": list(found.economics),
        "warnings": list(found.warnings),
        "fits": found.fits,
    }
