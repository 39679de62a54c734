"""Fallback: what is tried, in which order, when the version asked for can't be served. Pure.

The alias's policy decides, before the first byte of an answer only, and each attempt carries the
reason it is made for, so that headers, metrics and exchanges can say so.
"""

from __future__ import annotations

from typing import NamedTuple

from registry.versions import Version
from router.select import Target

NO_LIVE_VERSION = "no-live-version"
"""The alias has no version yet, or its version was rejected."""
VERSION_UNAVAILABLE = "version-unavailable"
"""No ready engine could find, verify or load it."""
ENGINE_ERROR = "engine-error"
"""The engine failed on it before the first byte."""
DEADLINE = "deadline"
"""No place for it came free in time: its adapter had no slot, or the engine was full."""
CANARY_UNAVAILABLE = "canary-unavailable"
"""The canary could not be served for any of these reasons; the live version answered."""

REASONS = (NO_LIVE_VERSION, VERSION_UNAVAILABLE, ENGINE_ERROR, DEADLINE, CANARY_UNAVAILABLE)


class Attempt(NamedTuple):
    """One thing to ask an engine for: a version, or (None) the base."""

    version: Version | None
    fallback: bool = False


def attempts(target: Target, first: Version | None) -> tuple[Attempt, ...]:
    """In order, beginning with the version that was chosen. Empty when there is nothing that the
    policy allows to try."""
    if target.wants_base:
        return (Attempt(None),)
    tried: list[Attempt] = []
    if first is not None:
        tried.append(Attempt(first))
    live = target.version
    if first is not live and live is not None:  # a canary: what it stands in for is always there
        tried.append(Attempt(live, fallback=True))
    if target.policy == "base":
        tried.append(Attempt(None, fallback=True))
    elif target.policy == "previous" and target.previous not in (None, first, live):
        tried.append(Attempt(target.previous, fallback=True))
    return tuple(tried)


def waits(target: Target) -> bool:
    """Whether attempts that failed are worth repeating until `target.wait_ms` is over."""
    return target.policy == "wait" and target.wait_ms > 0
