"""Keeping the platform up: the supervisor's loop, its screen, and the two signals that end it."""

from __future__ import annotations

import signal
import time
from types import FrameType

from cli import curl
from cli.home import Home
from cli.platform import Platform
from cli.screen import Screen
from cli.supervisor import Supervisor

INTERVAL_S = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(home: Home, platform: Platform, *, with_demo_tenants: bool = False) -> None:
    """Supervise until SIGINT or SIGTERM, then drain; a second signal ends everything at once."""
    registry = home.open_registry(migrate=True)
    if with_demo_tenants:
        from cli.demo import cast

        cast.ensure(home, registry)
    screen = Screen(home, platform)
    supervisor = Supervisor(
        platform.specs(registry),
        home.logs,
        platform.drain_order,
        say=screen.say,
        clock=time.monotonic,
    )
    signals = 0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        supervisor.hurry = signals > 1

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        screen.say(f"starting in {home.folder}; logs are in {home.logs}")
        supervisor.startup()
        told = False
        while not signals:
            supervisor.tick()
            screen.show(supervisor)
            if supervisor.ready and not told:
                told = True
                screen.say("\n".join(curl.lines(home, registry, platform.url)))
            time.sleep(INTERVAL_S)
    finally:
        screen.close()
        supervisor.shutdown()
        (home.run / "up.json").unlink(missing_ok=True)
        registry.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    print("everything has ended")
