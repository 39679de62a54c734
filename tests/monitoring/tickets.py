"""Support tickets made from patterns: ordinary ones, and ones of a product line that came later."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

from monitoring.sketch import sketch

_THINGS = ("headset", "keyboard", "router", "monitor", "charger", "webcam", "laptop", "printer")
_ORDINARY = (
    "I was charged twice for my {thing}",
    "The invoice for order {number} shows the wrong sum",
    "please refund the {thing}, I cancelled it",
    "why is there a fee on my bill for the {thing}?",
    "my {thing} has not arrived yet",
    "parcel {number} is stuck in customs",
    "the courier left the {thing} at a wrong address",
    "the {thing} does not turn on",
    "{thing} broke after {days} days",
    "I cannot log in",
    "how do I change the email of my account {number}",
)
_NEW = (
    "the smart lock will not pair with my phone",
    "door sensor {number} loses its zigbee link",
    "thermostat shows the wrong schedule",
    "the hub drops all bulbs every night",
    "how do I add a bulb to the living room scene",
    "firmware of the hub fails to update",
    "the bulb is offline since {days} days",
)
_BEFORE = ("Hi, ", "Hello team, ", "", "", "Good morning. ", "URGENT: ", "hey ")
_AFTER = ("", " Thanks.", " Please help.", " This is the second time I write.", " asap", "\nAnna")


def ticket(rng: random.Random, new: bool = False) -> str:
    """One ticket's text."""
    text = rng.choice(_BEFORE) + rng.choice(_NEW if new else _ORDINARY) + rng.choice(_AFTER)
    return text.format(
        thing=rng.choice(_THINGS), number=rng.randint(1000, 99999), days=rng.randint(2, 30)
    )


def prompt(text: str) -> list[dict[str, Any]]:
    """The messages that carry a ticket."""
    return [{"role": "system", "content": "Route the ticket."}, {"role": "user", "content": text}]


@cache
def pool(new: bool = False, size: int = 700) -> tuple[bytes, ...]:
    """Sketches of many tickets, to draw streams from."""
    rng = random.Random(7)
    return tuple(sketch(prompt(ticket(rng, new))) for _ in range(size))


def stream(seed: int, count: int, share: float = 0.0, start: int = 0) -> Iterator[bytes]:
    """Sketches of `count` tickets; from number `start` on, a share of them of the new kind."""
    rng = random.Random(seed)
    for number in range(count):
        yield rng.choice(pool(number >= start and rng.random() < share))
