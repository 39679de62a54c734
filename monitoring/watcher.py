"""One adapter under watch: what its exchanges show, and what the registry remembers of it.

An *epoch* is the time of one live version: when another version goes live, new references are taken
from the exchanges that follow. Everything is kept in the adapter's `DriftState` row, so that a
restarted controller goes on where it stood.

A pipeline that changed comes first: while it is, neither prompts nor answers say anything of the
tenant or the adapter, and what the last of them seemed to show is taken back.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Any
from zipfile import BadZipFile

import structlog

from monitoring import harms
from monitoring.advantage import ADAPTER, BASE, Advantage
from monitoring.budget import Purse
from monitoring.control import Control, joined, parted
from monitoring.doubts import Doubts
from monitoring.drift import Detector
from monitoring.failing import Failing
from monitoring.integrity import WINDOW, Integrity
from monitoring.powered import Powered
from monitoring.quality import Quality
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.aliases import Alias
from registry.decisions import ACCEPT, Decision, DriftState
from registry.exchanges import CONTROL, Exchange
from registry.outcomes import Said

log = structlog.get_logger("switchyard.controller")
_ASKS = 20
"""Wishes that are looked at, the newest."""
_DOUBTED = WINDOW + 10
"""Exchanges before a broken pipeline is seen; what they showed is taken back."""
_TURNED = 0.5
"""Of harm: a word that changed by less says in other words what was heard already."""


class Watcher:
    """Detectors and memory of one (tenant, adapter)."""

    def __init__(self, registry: Registry, settings: ControllerSettings, tenant: str, adapter: str):
        self._registry = registry
        self._settings = settings
        self.tenant = tenant
        self.adapter = adapter
        self.epoch = 0
        self.cursor = 0
        self.memory: dict[str, Any] = {}
        """JSON: `live` digest, `since` (its promotion, seconds), `watched`, `held`, `pending`…"""
        self.artifact: str | None = None
        """What the live version's canary prompts say is wrong, as whoever looks has found it."""
        self.detector = Detector(settings.drift)
        self.failing = Failing(settings.quality)
        self.control = Control(settings.drift, self._seed("control"))
        """A stream without drift, which begins once there is a reference to draw from."""
        self.doubts = Doubts()
        self._kept_at = 0.0
        """When its row was last written, as far as is known here."""
        self._prompts: list[tuple[bytes, float]] = []
        """Sketches and times of prompts that were read and not looked at yet."""
        self.begin()
        self._load()

    def begin(self) -> None:
        """Take new references: what there is now counts as usual. What is left of the budget of
        false alarms stays."""
        self._begin()
        self.integrity = Integrity(self._settings.reference)
        self.memory.pop("pipeline_at", None)
        accepted = self.doubts.accept(self.cursor)
        if accepted is not None:
            names = (self.tenant, self.adapter)
            self._registry.exchanges.doubt(*names, *accepted, doubtful=False)

    def _begin(self) -> None:
        seed = self._seed(self.epoch)
        self.detector = Detector(self._settings.drift, self.detector.purse, seed)
        self.failing = Failing(self._settings.quality, before=self.failing)
        self.quality = Quality(self._settings.quality)
        self.powered = Powered(len(harms.SIGNS))
        self.advantage = Advantage(self._settings.quality_margin)
        self.memory.pop("watched", None)

    @property
    def live(self) -> str | None:
        """The digest that this epoch is about."""
        return self.memory.get("live")

    @property
    def crossed(self) -> bool:
        """Whether the drift test rose above its threshold, and not for a broken pipeline."""
        at = self.detector.crossed_at
        return at is not None and self._sound(self.detector.seen - at)

    @property
    def drifted(self) -> bool:
        """Whether drift is sustained, and no broken pipeline."""
        return self.detector.established and self.crossed

    @property
    def worse(self) -> str | None:
        """The channel of harm in which answers got worse, and not for a broken pipeline."""
        return self.quality.down if self._sound(self.quality.since_down) else None

    @property
    def stopped(self) -> str | None:
        """The channel of harm in which the base was worse and is no more, if in no other it is."""
        return None if self.integrity.changed else self.advantage.stopped

    @property
    def changed(self) -> list[str]:
        """What changed since the promotion, of pipeline, artifact and traffic."""
        found = {
            "pipeline": self.integrity.changed,
            "artifact": self.artifact is not None,
            "traffic": self.crossed,
        }
        return [name for name, so in found.items() if so]

    @property
    def broken(self) -> tuple[str, str] | None:
        """What is wrong apart from traffic and answers, which then prove nothing: the hold's rule,
        and the reason."""
        if self.integrity.changed:
            return "pipeline-changed", f"messages are built in another way: {self.integrity.what}"
        if self.artifact is not None:
            return "artifact-changed", f"the live version answers in another way: {self.artifact}"
        return None

    @property
    def pipeline_at(self) -> float | None:
        """When the pipeline was seen to be changed (seconds); None while it is as usual."""
        return self.memory.get("pipeline_at")

    def wished(self) -> Decision | None:
        """Somebody's wish that what there is now counts as usual, if it has not been met yet."""
        asks = self._registry.decisions.page(None, _ASKS, self.tenant, self.adapter, "ask")
        wish = next((receipt for receipt in asks if receipt.rule == ACCEPT), None)
        return None if wish is None or wish.id == self.memory.get("accepted") else wish

    def follow(self, aliases: list[Alias]) -> bool:
        """Begin a new epoch if another version is live than before; whether it did. A pipeline that
        is broken stays so: no promotion mends it."""
        live = next((alias for alias in aliases if alias.live is not None), None)
        if live is None or live.live == self.live:
            return False
        if self.live is not None:
            self.epoch += 1
        staying = [
            "last_retrain",
            "said",
            "accepted",
            *(["pipeline_at"] if self.integrity.changed else []),
        ]
        kept: dict[str, Any] = {k: self.memory[k] for k in staying if k in self.memory}
        self.memory = {**kept, "live": live.live, "since": live.updated_at, "attempts": 0}
        self.doubts = self.doubts.after_promotion()
        if self.integrity.changed:
            self._begin()
        else:
            self.begin()
        self.save()
        return True

    def read(self, limit: int, share: float = 1.0) -> int:
        """Take in the exchanges since the cursor, and what people said; how many were read.
        `share`: this adapter's part of the fleet's budget of false alarms.

        Of prompts, fallbacks count: drift is about what tenants send, whoever answered. Left out
        are requests that were refused (4xx: they never reached a model), copies for a shadow (the
        original is there), other adapters' and those from before this epoch.
        """
        exchanges = self._registry.exchanges
        rows = exchanges.since(self.cursor, limit=limit, tenant=self.tenant, text=False)
        since = self.memory.get("since")
        for row in rows:
            self.cursor = row.number
            refused = 400 <= row.status < 500
            if row.adapter != self.adapter or refused or row.shadow_of:
                continue
            if since is not None and row.created_at >= since:
                self._see(row, share)
        said = self._registry.outcomes.said_since(
            self.memory.get("said", 0), self.tenant, self.adapter, limit
        )
        heard: dict[str, float] = {}
        for word in said:
            self.memory["said"] = word.number
            heard |= self._hear(word)
        self._look(share)
        if self.detector.crossed_at is None:  # what was watched is over: another is news
            self.memory.pop("watched", None)
        if self.failing.down:
            self.failing.compare(*self._others())
        if rows or said:
            with self._registry.whole():
                for first, last in self.doubts.due(self.cursor):
                    exchanges.doubt(self.tenant, self.adapter, first, last)
                self._registry.outcomes.heard(heard)
                self.save()
        return len(rows)

    def check(self, artifact: str | None, at: float | None) -> None:
        """Take in what the live version's canary prompts said when they were asked again: what is
        wrong with it, and when that was (seconds)."""
        if self.doubts.check(artifact, at, self.memory.get("since")):
            self.quality.forgive(self.quality.most)
            self.powered.forget_waiting()
            self.advantage.forgive()
        self.artifact = artifact

    def save(self) -> None:
        """Write everything to the registry. Raises Superseded where another controller did since it
        was read: what is known here is old then."""
        state, arrays = self.detector.dump()
        control, control_arrays = self.control.dump()
        self._kept_at = self._registry.decisions.save_drift_state(
            DriftState(
                tenant=self.tenant,
                adapter=self.adapter,
                epoch=self.epoch,
                cursor=self.cursor,
                state={
                    "memory": self.memory,
                    "detector": state,
                    "control": control,
                    "integrity": self.integrity.dump(),
                    "doubts": self.doubts.dump(),
                    "failing": self.failing.dump(),
                    "quality": self.quality.dump(),
                    "powered": self.powered.dump(),
                    "advantage": self.advantage.dump(),
                },
                arrays=joined(arrays, control_arrays),
            ),
            self._kept_at,
        )

    def _see(self, row: Exchange, share: float) -> None:
        if row.fallback in harms.LIVE_UNAVAILABLE or (row.digest, row.role) == (self.live, "live"):
            self.failing.see(row.status >= 500 or row.fallback != "", row.created_at)
        if row.layout is not None and self.integrity.see(row.layout, row.client, row.number):
            if self.integrity.changed:
                self._look(share)  # they are among those that are taken back
                self.memory["pipeline_at"] = row.created_at
                self.doubts.begin(self.integrity.first or row.number)
                self.detector.forgive(_DOUBTED)
                if self.detector.crossed_at is None:
                    self.memory.pop("watched", None)
                self.quality.forgive(_DOUBTED)
                self.powered.forget_waiting()
                self.advantage.forgive()
            else:
                self.memory.pop("pipeline_at", None)
                self.doubts.end(row.number)
        if self.integrity.changed:
            return
        if row.sketch is not None:
            self._prompts.append((row.sketch, row.created_at))
        if self.doubts.is_wrong(row.created_at):
            return
        if row.digest == self.live and row.role == "live":
            for channel, harm in harms.of_exchange(row):
                self.quality.see(channel, harm)
                self.advantage.see(ADAPTER, channel, harm)
            if row.status < 400 and not row.fallback:
                self.powered.see(harms.signs(row))
        if row.role == CONTROL:
            for channel, harm in harms.of_exchange(row):
                self.advantage.see(BASE, channel, harm)

    def _look(self, share: float) -> None:
        """Give the drift test the prompts that came, all at once: it costs a fraction so."""
        prompts, self._prompts = self._prompts, []
        while prompts and not self.detector.watching:
            self.detector.see(*prompts.pop(0), share)
        baseline = self.detector.baseline
        if prompts and baseline is not None:
            self.detector.see_all(prompts, share)
            self.control.see_all(baseline, [at for _, at in prompts], share)

    def _hear(self, word: Said) -> dict[str, float]:
        """{the word's id: its harm} if it is evidence. Who says more of what they said before has
        nothing new to say here; who says the opposite has."""
        since = self.memory.get("since")
        found = dict(harms.of_feedback(word.rating, word.corrected))
        if not found or (
            word.heard is not None and abs(found[harms.DISLIKED] - word.heard) < _TURNED
        ):
            return {}
        asked = word.asked
        in_doubt = self.integrity.changed if asked is None else self.doubts.covers(asked)
        if in_doubt or word.doubtful or self.doubts.is_wrong(word.asked_at):
            return {}
        counted = False
        if word.role == CONTROL and since is not None and (word.asked_at or 0.0) >= since:
            counted = True
            for channel, harm in found.items():
                self.advantage.see(BASE, channel, harm)
        if word.digest == self.live:
            counted = True
            for channel, harm in found.items():
                self.quality.see(channel, harm)
                if word.role in ("live", None):  # not of the time when it was on trial
                    self.powered.hear(harm, None if word.role is None else harms.signs(word))
                    self.advantage.see(ADAPTER, channel, harm)
        return {word.id: found[harms.DISLIKED]} if counted else {}

    def _others(self) -> tuple[int, int]:
        """(failed, requests) of others while the live version failed."""
        names = (self.tenant, self.adapter)
        return self._registry.news.failed(
            names, str(self.live), *self.failing.window, harms.LIVE_UNAVAILABLE
        )

    def _seed(self, of: object) -> int:
        """Each adapter's chances are its own, and the same after a restart."""
        return zlib.crc32(f"{self.tenant}/{self.adapter}/{of}".encode())

    def _sound(self, since: int) -> bool:
        """Whether a broken pipeline would have been seen by now, `since` exchanges later."""
        return not self.integrity.changed and (not self.integrity.usual or since >= WINDOW)

    def _load(self) -> None:
        row = self._registry.decisions.drift_state(self.tenant, self.adapter)
        if row is None:
            return
        self.epoch, self.cursor, self._kept_at = row.epoch, row.cursor, row.updated_at
        self.memory = dict(row.state.get("memory", {}))
        self.integrity = Integrity(self._settings.reference, row.state.get("integrity"))
        self.doubts = Doubts(row.state.get("doubts"))
        self.failing = Failing(self._settings.quality, row.state.get("failing"))
        self.quality = Quality(self._settings.quality, row.state.get("quality"))
        self.powered = Powered(len(harms.SIGNS), row.state.get("powered"))
        kept = row.state.get("advantage")
        self.advantage = Advantage(self._settings.quality_margin, kept)
        kept = row.state.get("detector", {})
        try:
            self.detector = Detector.load(self._settings.drift, kept, row.arrays or b"")
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            log.warning(
                "drift state not readable: taking a new reference",
                tenant=self.tenant,
                adapter=self.adapter,
                error=str(error),
            )
            self.memory.pop("watched", None)
            # An upgrade grants no new budget of false alarms, as a promotion grants none.
            with suppress(KeyError):
                weekly = self._settings.drift.false_alarms_per_week
                self.detector.purse = Purse.load(weekly, kept["purse"])
        if (kept := row.state.get("control")) is not None:
            self.control = self._kept_control(kept, row.arrays or b"")

    def _kept_control(self, kept: dict[str, Any], packed: bytes) -> Control:
        drift = self._settings.drift
        try:
            return Control.load(drift, kept, parted(packed), self.detector.baseline)
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            log.warning(
                "drift control not readable: taking a new one",
                tenant=self.tenant,
                adapter=self.adapter,
                error=str(error),
            )
            return self.control
