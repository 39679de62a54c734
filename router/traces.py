"""Traces: a failure's stack for the log, as text.

Loggers that print local variables with a stack (rich's do) would print keys and prompts.
"""

from __future__ import annotations

import traceback


def trace(error: BaseException) -> str:
    """File, line and function of each frame and the error's type: no values, no message."""
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    return "".join(frames) + type(error).__qualname__
