"""The learning rate by wall clock.

Warm up, stay, fall to zero, so that a run ends when it was told to.
"""

from __future__ import annotations

WARM_UP = 0.01  # share of the budget
DECAY = 0.28


def rate(progress: float) -> float:
    """Factor on the peak learning rate at a point of the budget.

    0 to 1 (warm-up, stable, linear decay).
    """
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.02)
    if progress < 1 - DECAY:
        return 1.0
    return max((1 - progress) / DECAY, 0.0)
