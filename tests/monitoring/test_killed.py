"""A controller that is killed at any moment, and a registry that goes away: no decision is lost, no
job doubled, and evidence goes on where it stood."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitoring.settings import ControllerSettings
from registry import Registry
from registry.database import Database
from registry.errors import DatabaseUnavailable
from tests.monitoring.test_months import BAD
from tests.monitoring.world import DAY_S, Player, Skill, World

DAYS = 46
SETTINGS = ControllerSettings(
    reference=60,
    false_alarms_per_week=0.02,
    min_corrections=20,
    cooldown_s=1.9 * DAY_S,  # not whole days: it must not end at the very moment of a look
    rollout_shadow=20,
    rollout_shadow_share=1.0,
    rollout_requests=20,
    rollout_patience_s=1.5 * DAY_S,
)


class _Killed(BaseException):
    """Nobody catches it, as nobody catches a SIGKILL."""


class _Mortal(World):
    """A world in which each of the controller's looks is struck by `fate`, a tenth of its
    transactions before the commit and a tenth just after it, before anybody hears of it. Then a
    new controller looks again, until one comes to its end."""

    def __init__(self, registry: Registry, fate: type[BaseException] | None, seed: int) -> None:
        players = [
            Player("moved", new=lambda day: 0.6 if day >= 20 else 0.0),
            Player(
                "unlucky",
                new=lambda day: 0.6 if day >= 15 else 0.0,
                learns=[BAD, Skill(new=0.9)],
            ),
            Player("broken", broken=lambda day: 25 <= day < 35),
        ]
        super().__init__(registry, players, SETTINGS)
        self._fate = fate
        self._luck = random.Random(seed)
        self._tried = False
        self.strikes = 0

    def look(self) -> None:
        write = Database.write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "write", lambda database: self._struck(write(database)))
            while True:
                before = self.strikes
                try:
                    super().look()
                except _Killed:
                    self.restart()
                except DatabaseUnavailable:
                    pass  # the platform's loop logs it, and the same controller looks again
                if self.strikes == before:
                    return

    @contextmanager
    def _struck(self, transaction: Any) -> Iterator[Any]:
        luck = 1.0 if self._fate is None else self._luck.random()
        with transaction as session:
            yield session
            if luck < 0.1:
                self._strike()
        if luck < 0.2:
            self._strike()

    def _strike(self) -> None:
        assert self._fate is not None
        self.strikes += 1
        raise self._fate("registry", "struck")

    def told(self) -> dict[str, list[tuple[int, str, str]]]:
        """By tenant: the day of each receipt, its kind and rule."""
        return {
            name: [
                (day, receipt.kind, receipt.rule)
                for day, receipt in zip(self.days(name), self.receipts(name), strict=True)
            ]
            for name in self.players
        }

    def known(self) -> dict[str, Any]:
        """By tenant: what a scrape shows of its evidence."""
        gauges = ("drift_statistic", "drift_reference_prompts", "pipeline_changed")
        return {name: [self.gauge(gauge, name) for gauge in gauges] for name in self.players}

    def trained(self) -> dict[str, int]:
        """By tenant: jobs."""
        return {name: len(self.registry.jobs.all(name)) for name in self.players}


@pytest.mark.slow
def test_whatever_strikes_the_controller_it_decides_as_if_nothing_had(
    sqlite_template: Path, tmp_path: Path
) -> None:
    fates = {"calm": None, "killed": _Killed, "unavailable": DatabaseUnavailable}
    worlds = {name: _lived(sqlite_template, tmp_path / name, fate) for name, fate in fates.items()}
    calm = worlds.pop("calm")
    kinds = {kind for receipts in calm.told().values() for _, kind, _ in receipts}
    assert kinds >= {"watch", "retrain", "hold", "shadow", "canary", "reject", "promote"}
    for name, struck in worlds.items():
        assert struck.strikes > 50, name
        assert struck.told() == calm.told(), name
        assert struck.known() == calm.known(), name
        assert struck.trained() == calm.trained(), name
    for world in (calm, *worlds.values()):
        world.registry.close()


def _lived(template: Path, folder: Path, fate: type[BaseException] | None) -> _Mortal:
    folder.mkdir()
    shutil.copy(template, folder / "registry.db")
    registry = Registry.open(f"sqlite:///{folder}/registry.db", f"file://{folder}/store")
    world = _Mortal(registry, fate, seed=1)
    world.live(DAYS)
    return world
