"""`switchyard engine|router|worker|controller run`: each composes its rooms into one process.

Here the registry is opened, metrics are made and shown, and signals become a drain. What a process
does is in its room.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import typer

from cli import engine_plan, logs, room_settings
from cli.errors import NotStartable
from cli.invocation import Invocation, opened

_WORKER_INTERVAL_S = 0.5


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    for name, command, text in (
        ("engine", engine_run, "The engine's process: keeps one vLLM running."),
        ("router", router_run, "The router's process: the OpenAI-compatible front door."),
        ("worker", worker_run, "The worker's process: takes training jobs."),
        ("controller", controller_run, "The controller's process: swap, drift, retrain."),
    ):
        group = typer.Typer(no_args_is_help=True, help=text)
        group.callback()(_nothing)  # keeps `run` a word of its own
        group.command("run")(command)
        if name == "engine":
            group.command("plan")(engine_plan.engine_plan)
        app.add_typer(group, name=name)


def engine_run(context: typer.Context) -> None:
    """Run vLLM, restart it when it dies, and tell the registry how it does."""
    from cli.loops import repeat, stop_event, until
    from monitoring.metrics import Metrics
    from serve.engine import BaseMissing, EngineStartFailed, EngineSupervisor
    from serve.process import PortInUse

    logs.configure("engine")
    settings = room_settings.engine(Invocation.of(context).home)
    with opened(context) as registry:
        if settings.plan:
            settings = engine_plan.at_start(registry, settings)
        supervisor = EngineSupervisor(settings, registry, Metrics())

        async def run() -> None:
            with stop_event() as stop, _starting(BaseMissing, PortInUse, EngineStartFailed):
                await supervisor.startup()
                try:
                    # It paces itself: a tick lasts until the next heartbeat is due.
                    loop = repeat("engine", supervisor.tick, 0.01, fatal=(EngineStartFailed,))
                    await until(stop, loop)
                finally:
                    await supervisor.shutdown()

        asyncio.run(run())


def router_run(context: typer.Context) -> None:
    """Serve the OpenAI API to tenants until a signal comes, then finish what is under way."""
    from cli.loops import Signals
    from monitoring import exposition
    from monitoring.metrics import Metrics
    from router.admin.server import PortInUse as AdminPortInUse
    from router.server import PortInUse, Server

    logs.configure("router")
    settings = room_settings.router(Invocation.of(context).home)
    with opened(context) as registry:
        server = Server(settings, registry, Metrics())
        # uvicorn drains on a signal and raises it again afterwards: here it has done its work then.
        with Signals(), _starting(PortInUse, AdminPortInUse, exposition.PortInUse):
            server.startup()
            server.run()


def worker_run(context: typer.Context) -> None:
    """Take training jobs, one at a time; a signal puts the job in hand back."""
    from cli.loops import Signals, repeat_blocking
    from monitoring import exposition
    from monitoring.metrics import Metrics
    from train.worker import Worker

    logs.configure("worker")
    settings = room_settings.worker(Invocation.of(context).home)
    with opened(context) as registry:
        metrics = Metrics()
        worker = Worker(registry, settings, metrics)
        with Signals() as signals, _starting(exposition.PortInUse):
            shown = exposition.serve(metrics, settings.metrics_port, settings.metrics_host)
            try:
                worker.startup()
                repeat_blocking("worker", worker.tick, _WORKER_INTERVAL_S, signals)
            finally:
                worker.shutdown()
                shown.close()


def controller_run(context: typer.Context) -> None:
    """Swap candidates in, watch for drift, and have retrained what drifted."""
    from cli.loops import repeat, stop_event, until
    from monitoring import exposition
    from monitoring.controller import Controller
    from monitoring.metrics import Metrics
    from serve.swap import Swapper

    logs.configure("controller")
    home = Invocation.of(context).home
    swap_settings, settings = room_settings.swap(home), room_settings.controller(home)
    with opened(context) as registry:
        metrics = Metrics()
        swapper = Swapper(registry, swap_settings, metrics)
        controller = Controller(registry, settings, metrics)

        async def run() -> None:
            with stop_event() as stop, _starting(exposition.PortInUse):
                shown = exposition.serve(metrics, settings.metrics_port, settings.metrics_host)
                try:
                    await swapper.startup()
                    await asyncio.to_thread(controller.startup)
                    # Side by side: a swap that takes its time must not blind the drift detectors.
                    await until(
                        stop,
                        repeat("swap", swapper.tick, swap_settings.poll_s),
                        repeat(
                            "controller",
                            lambda: asyncio.to_thread(controller.tick),
                            settings.poll_s,
                        ),
                    )
                finally:
                    await swapper.shutdown()
                    await asyncio.to_thread(controller.shutdown)
                    shown.close()

        asyncio.run(run())


def _nothing() -> None:
    """A group without options of its own."""


@contextlib.contextmanager
def _starting(*final: type[Exception]) -> Iterator[None]:
    """What a room says about why it can't start is final: trying again changes nothing."""
    try:
        yield
    except final as error:
        raise NotStartable(str(error)) from error
