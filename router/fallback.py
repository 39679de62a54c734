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

REASONS = (NO_LIVE_VERSION, VERSION_UNAVAILABLE, ENGINE_ERROR)


class Attempt(NamedTuple):
    """One thing to ask an engine for: a version, or (None) the base."""

    version: Version | None
    fallback: bool = False


def attempts(target: Target) -> tuple[Attempt, ...]:
    """In order. Empty when there is nothing that the policy allows to try."""
    if target.wants_base:
        return (Attempt(None),)
    first = () if target.version is None else (Attempt(target.version),)
    if target.policy == "base":
        return (*first, Attempt(None, fallback=True))
    previous = target.previous
    if target.policy == "previous" and previous is not None and previous is not target.version:
        return (*first, Attempt(previous, fallback=True))
    return first


def waits(target: Target) -> bool:
    """Whether attempts that failed are worth repeating until `target.wait_ms` is over."""
    return target.policy == "wait" and target.wait_ms > 0
