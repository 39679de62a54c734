"""States on their way into the store: by a thread, the latest only, each in the last one's place.

Knows nothing about what a state holds; imports no torch.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import structlog

from registry import Registry
from registry.errors import LeaseLost, NotFound, RegistryError

_log = structlog.get_logger()
_MARK = "state.json"


class Uploads:
    """One job's states. `offer` and `idle` never block."""

    def __init__(self, registry: Registry, job_id: str, worker: str, kept: str | None) -> None:
        self._registry = registry
        self._job_id = job_id
        self._worker = worker
        self._kept = kept
        self._lock = threading.Lock()
        self._next: Path | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def offer(self, folder: Path) -> None:
        """Upload this state when the one in hand is through; one that still waits is passed over.
        Folders are removed when they are done with."""
        with self._lock:
            passed, self._next = self._next, folder
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="states", daemon=True)
                self._thread.start()
        if passed is not None:
            shutil.rmtree(passed, ignore_errors=True)

    @property
    def idle(self) -> bool:
        """Whether all that was offered is through."""
        return self._thread is None

    def close(self, timeout: float) -> None:
        """Upload what is there, for `timeout` seconds at most, and nothing more."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        self._closed = True

    def _run(self) -> None:
        while True:
            with self._lock:
                folder, self._next = self._next, None
                if folder is None or self._closed:
                    self._thread = None
                    return
            try:
                self._upload(folder)
            except LeaseLost:
                self._closed = True  # the job is another's
            except (OSError, RegistryError) as error:
                # Training goes on: the state before this one is still there.
                _log.warning("state_not_kept", job=self._job_id, error=str(error))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _upload(self, folder: Path) -> None:
        digest = self._registry.store.publish(folder)
        try:
            self._registry.jobs.keep_state(self._job_id, self._worker, digest)
        except (LeaseLost, NotFound):  # not found: the tenant was deleted, and the job with it
            self._registry.store.remove(digest)
            raise
        old, self._kept = self._kept, digest
        if old is not None and old != digest:
            remove(self._registry, old)


def remove(registry: Registry, digest: str) -> None:
    """Take a state out of the store; anything else stays."""
    try:
        if _MARK in registry.store.files(digest):
            registry.store.remove(digest)
    except (OSError, RegistryError) as error:
        _log.warning("state_not_removed", digest=digest[:12], error=str(error))


def sweep(registry: Registry) -> None:
    """Remove the states of jobs that have ended."""
    from registry.job import FINAL

    for job in registry.jobs.all():
        if job.state in FINAL and job.state_digest is not None:
            remove(registry, job.state_digest)
            try:
                registry.jobs.forget_state(job.id, job.state_digest)
            except NotFound:
                continue
