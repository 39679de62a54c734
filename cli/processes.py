"""`switchyard engine|router|worker|controller run`: each composes its rooms into one process.

Here the registry is opened, metrics are made and shown, and signals become a drain. What a process
does is in its room.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cli import engine_plan, logs, room_settings
from cli.errors import NotStartable
from cli.invocation import Invocation, opened

if TYPE_CHECKING:
    from router.seat import Seat

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


def router_run(
    context: typer.Context,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=64,
            help="Processes that share the port; SWITCHYARD_ROUTER_WORKERS where it is not given.",
        ),
    ] = None,
    seat: Annotated[str | None, typer.Option("--seat", hidden=True)] = None,
) -> None:
    """Serve the OpenAI API to tenants until a signal comes, then finish what is under way."""
    from cli.loops import Signals
    from monitoring import exposition
    from router.seat import Seat

    taken = None if seat is None else Seat.decode(seat)
    if taken is not None:
        taken.take()  # before anything makes metrics: the slate is where they go
    from monitoring.metrics import Metrics
    from router.admin.server import AdminServer
    from router.admin.server import PortInUse as AdminPortInUse
    from router.limits import MissingPackage
    from router.server import PortInUse, Server
    from router.workers import Workers, WorkersFailed

    logs.configure("router", **({} if taken is None else {"worker": taken.index}))
    invocation = Invocation.of(context)
    settings = room_settings.router(invocation.home)
    if workers is not None:
        settings = dataclasses.replace(settings, workers=workers)
    final = (
        PortInUse,
        AdminPortInUse,
        exposition.PortInUse,
        WorkersFailed,
        MissingPackage,
    )
    with opened(context) as registry, Signals(), _starting(*final):
        if settings.workers == 1 or taken is not None:
            # It drains on a signal itself.
            server = Server(settings, registry, Metrics(), seat=taken)
            server.startup()
            server.run()
        else:
            parent = Workers(
                settings,
                Metrics(),
                lambda seat: _seated(invocation, settings.workers, seat),
                final=frozenset({NotStartable.exit_code}),
            )
            parent.startup()
            admin = AdminServer(settings, registry)
            try:
                admin.startup()
                parent.run()
            finally:
                admin.shutdown()


def _seated(invocation: Invocation, count: int, seat: Seat) -> list[str]:
    """The command of one worker of a router."""
    command = [sys.executable, "-m", "cli.main", "--home", str(invocation.home.folder)]
    command += ["--debug"] if invocation.debug else []
    return [*command, "router", "run", "--workers", str(count), "--seat", seat.encode()]


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
    from threadpoolctl import threadpool_limits

    from cli.loops import repeat, stop_event, until
    from monitoring import exposition
    from monitoring.controller import Controller
    from monitoring.metrics import Metrics
    from serve.swap import Swapper

    logs.configure("controller")
    # The drift test's products are small: threads would spend more on waiting than they save.
    threadpool_limits(1, user_api="blas")
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
