"""One adapter under watch: its drift detector, and what the registry remembers of it.

An *epoch* is the time of one live version: when another version goes live, a new reference is taken
from the prompts that follow. Everything is kept in the adapter's `DriftState` row, so that a
restarted controller goes on where it stood.
"""

from __future__ import annotations

import zlib
from typing import Any
from zipfile import BadZipFile

import structlog

from monitoring.control import Control
from monitoring.drift import Detector, DriftSettings
from registry import Registry
from registry.aliases import Alias
from registry.decisions import DriftState

log = structlog.get_logger("switchyard.controller")


class Watcher:
    """Detector and memory of one (tenant, adapter)."""

    def __init__(self, registry: Registry, settings: DriftSettings, tenant: str, adapter: str):
        self._registry = registry
        self._settings = settings
        self.tenant = tenant
        self.adapter = adapter
        self.epoch = 0
        self.cursor = 0
        self.memory: dict[str, Any] = {}
        """JSON: `live` digest, `since` (its promotion, seconds), `watched`, `held`, `pending`…"""
        self.detector = Detector(settings)
        self.control: Control | None = None
        """A stream without drift, once there is a reference to replay."""
        self._load()

    @property
    def live(self) -> str | None:
        """The digest that this epoch is about."""
        return self.memory.get("live")

    def follow(self, aliases: list[Alias]) -> bool:
        """Begin a new epoch if another version is live than before; whether it did."""
        live = next((alias for alias in aliases if alias.live is not None), None)
        if live is None or live.live == self.live:
            return False
        if self.live is not None:
            self.epoch += 1
        kept = {k: self.memory[k] for k in ("last_retrain",) if k in self.memory}
        self.memory = {**kept, "live": live.live, "since": live.updated_at, "attempts": 0}
        self.detector = Detector(self._settings, self.detector.purse)
        self.save()
        return True

    def read(self, limit: int, share: float = 1.0) -> int:
        """Show the detector the exchanges since the cursor; how many were read. `share`: this
        adapter's part of the fleet's budget of false alarms.

        Fallbacks count: drift is about what tenants send, whoever answered. Left out are requests
        that were refused (4xx: they never reached a model), copies for a shadow (the original is
        there), other adapters' and those from before this epoch.
        """
        rows = self._registry.exchanges.since(self.cursor, limit=limit, tenant=self.tenant)
        since = self.memory.get("since")
        for row in rows:
            self.cursor = row.number
            refused = 400 <= row.status < 500
            if row.sketch is None or row.adapter != self.adapter or refused or row.shadow_of:
                continue
            if since is not None and row.created_at >= since:
                self.detector.see(row.sketch, row.created_at, share)
                self._control(row.created_at, share)
        if rows:
            self.save()
        return len(rows)

    def _control(self, at: float, share: float) -> None:
        baseline = self.detector.baseline
        if self.control is None and baseline is not None:
            seed = zlib.crc32(f"{self.tenant}/{self.adapter}".encode())
            self.control = Control(self._settings, baseline, seed)
        if self.control is not None:
            self.control.see(at, share)

    def save(self) -> None:
        """Write everything to the registry."""
        state, arrays = self.detector.dump()
        self._registry.decisions.save_drift_state(
            DriftState(
                tenant=self.tenant,
                adapter=self.adapter,
                epoch=self.epoch,
                cursor=self.cursor,
                state={"memory": self.memory, "detector": state},
                arrays=arrays,
            )
        )

    def _load(self) -> None:
        row = self._registry.decisions.drift_state(self.tenant, self.adapter)
        if row is None:
            return
        self.epoch, self.cursor = row.epoch, row.cursor
        self.memory = dict(row.state.get("memory", {}))
        try:
            self.detector = Detector.load(
                self._settings, row.state.get("detector", {}), row.arrays or b""
            )
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            log.warning(
                "drift state not readable: taking a new reference",
                tenant=self.tenant,
                adapter=self.adapter,
                error=str(error),
            )
