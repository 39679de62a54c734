"""The supervisor: keeps one vLLM running and the registry's row about it true.

Knows processes, /health and the engine's row; nothing about adapters. What the base's words mean is
told beside it (serve/meanings.py). Three verbs, run by cli:

    await supervisor.startup()                  # refuses a port in use; spawns; returns at once
    while not stopping: await supervisor.tick() # paces itself: returns at a death or after
    heartbeat_s await supervisor.shutdown(timeout)          # draining → SIGTERM → down

Run it on the main thread's event loop: the child dies with the thread that spawned it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from monitoring.metrics import Metrics
from registry import Registry
from registry.errors import NotFound
from serve.client import EngineClient
from serve.meanings import Teller
from serve.process import EngineProcess, PortInUse, require_free_port
from serve.settings import EngineSettings

_log = structlog.get_logger()

MAX_FAILED_STARTS = 3
_PORT_WAIT_S = 15.0
_PROBE_S = 0.25
_TELLER_WAIT_S = 2.0


class EngineStartFailed(Exception):
    """vLLM ended before it was ready, several times in a row; shows its last lines."""

    def __init__(self, why: str, log_file: Path, tail: str) -> None:
        super().__init__(
            f"the engine did not start: {why}. Its log is {log_file}; it ends:\n{tail}"
        )


class BaseMissing(Exception):
    """The base model's folder isn't there."""

    def __init__(self, base: str) -> None:
        super().__init__(
            f"no base model at {base}: expected a folder with config.json (`switchyard base build` "
            "makes the default one) or a Hugging Face id such as Qwen/Qwen2.5-0.5B-Instruct"
        )


class EngineSupervisor:
    """Keeps the engine of `settings` running. `command` replaces vLLM in tests."""

    def __init__(
        self,
        settings: EngineSettings,
        registry: Registry,
        metrics: Metrics,
        *,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._command = list(command or settings.argv())
        self._environ = settings.environ(os.environ if environ is None else environ)
        self._client = EngineClient(
            f"http://{_reachable(settings.host)}:{settings.port}", settings.engine_api_key
        )
        self._teller = Teller(registry, settings.base, settings.name)
        self._process: EngineProcess | None = None
        self._state = "down"
        self._spawned_at = 0.0
        self._healthy_at = 0.0
        self._beat_at = 0.0
        self._failed_starts = 0
        self._backoff_s = settings.backoff_s
        self.starts = 0
        """Spawns so far."""
        self.ready_after_s: float | None = None
        """Seconds from the last spawn to ready."""

    @property
    def state(self) -> str:
        """starting, ready, draining or down."""
        return self._state

    @property
    def pid(self) -> int | None:
        """Of the API server."""
        return self._process.pid if self._process else None

    async def startup(self) -> None:
        """Check what can be checked, register, spawn.

        Raises PortInUse, BaseMissing, OSError (the log file).
        """
        settings = self._settings
        is_path = settings.base.startswith((".", "/", "~")) or settings.base.count("/") > 1
        if is_path and not (Path(settings.base) / "config.json").is_file():
            raise BaseMissing(settings.base)
        require_free_port(settings.host, settings.port)
        await self._spawn()

    async def tick(self) -> None:
        """Look once, act, then wait for the child's end or the next heartbeat.

        Raises EngineStartFailed after MAX_FAILED_STARTS starts in a row that came to nothing.
        """
        process = self._process
        if process is None or process.exit_code is not None:
            await self._bury(f"it ended with exit code {process.exit_code if process else None}")
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, self._settings.backoff_max_s)
            await self._spawn()
            return
        now = time.monotonic()
        if await self._client.healthy(self._settings.heartbeat_s):
            self._healthy_at = now
            if self._state == "starting":
                self._became_ready(now)
        elif self._state == "ready" and now - self._healthy_at > self._settings.health_timeout_s:
            await self._bury(f"/health was silent for {now - self._healthy_at:.0f} s")
            return
        elif (
            self._state == "starting" and now - self._spawned_at > self._settings.startup_timeout_s
        ):
            await self._bury(f"not ready within {self._settings.startup_timeout_s:g} s")
            return
        if self._state == "ready" or now - self._beat_at >= self._settings.heartbeat_s:
            self._beat_at = now
            await self._heartbeat(self._state)
        await process.exited(self._settings.heartbeat_s if self._state == "ready" else _PROBE_S)
        if process.exit_code is not None and self._state == "ready":
            await self._down()  # at once: routers must not wait for the next tick

    async def shutdown(self, timeout_s: float | None = None) -> None:
        """Say that we drain, end vLLM, say that it is down."""
        limit = self._settings.shutdown_timeout_s if timeout_s is None else timeout_s
        try:
            await self._heartbeat("draining")
        finally:
            if self._process is not None:
                await self._process.stop(limit)
            await asyncio.to_thread(self._teller.stop, _TELLER_WAIT_S)
            await self._client.close()
        await self._down()

    async def _spawn(self) -> None:
        settings = self._settings
        await asyncio.to_thread(
            self._registry.engines.register,
            settings.id,
            settings.url,
            settings.name,
            max_loras=settings.max_loras,
            max_lora_rank=settings.max_lora_rank,
            max_cpu_loras=settings.max_cpu_loras,
            max_num_seqs=settings.max_num_seqs,
        )
        self._state = "starting"
        await self._port_to_be_free()
        self._process = EngineProcess(self._command, self._environ, settings.log_file)
        await self._process.start()
        self._spawned_at = time.monotonic()
        if self.starts:
            self._metrics.engine_restarts_total.inc()
        self.starts += 1
        _log.info("engine.spawned", engine=settings.id, pid=self.pid, start=self.starts)

    def _became_ready(self, now: float) -> None:
        self._state = "ready"
        self._failed_starts = 0
        self._backoff_s = self._settings.backoff_s
        self.ready_after_s = now - self._spawned_at
        self._metrics.engine_up.labels(self._settings.id).set(1)
        _log.info("engine.ready", engine=self._settings.id, seconds=round(self.ready_after_s, 1))
        self._teller.start()  # not before: vLLM may have had to download the base

    async def _bury(self, why: str) -> None:
        """The child is dead or has to be: say so, and leave nothing of it behind."""
        process, starting = self._process, self._state == "starting"
        self._process = None
        if process is not None:
            await process.kill()
        await self._down()
        tail = process.tail() if process is not None else ""
        if starting:
            self._failed_starts += 1
        _log.error("engine.died", engine=self._settings.id, why=why, log_tail=tail)
        if self._failed_starts >= MAX_FAILED_STARTS:
            self._failed_starts = 0
            raise EngineStartFailed(why, self._settings.log_file, tail)

    async def _down(self) -> None:
        if self._state != "starting":
            self._state = "down"
        self._metrics.engine_up.labels(self._settings.id).set(0)
        await self._heartbeat("down")

    async def _heartbeat(self, state: str) -> None:
        with contextlib.suppress(NotFound):  # someone removed the row: the next spawn makes it anew
            await asyncio.to_thread(self._registry.engines.heartbeat, self._settings.id, state)

    async def _port_to_be_free(self) -> None:
        """A killed child's socket may live for a moment. Raises PortInUse."""
        deadline = time.monotonic() + _PORT_WAIT_S
        while True:
            try:
                return require_free_port(self._settings.host, self._settings.port)
            except PortInUse:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_PROBE_S)


def _reachable(host: str) -> str:
    """An address to call for one to listen on."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
