"""The interval of a share that was seen on few cases. A formula and nothing else."""

from __future__ import annotations

import math

_Z = 1.959964  # two-sided 95 %


def wilson(share: float | None, n: int | None) -> tuple[float, float] | None:
    """The 95 % interval of a share (0…1) that was seen on `n` cases; None without cases.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    if share is None or not n:
        return None
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
