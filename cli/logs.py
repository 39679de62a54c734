"""Logging of a process: JSON lines on stderr, or readable ones on a terminal."""

from __future__ import annotations

import sys


def configure(process: str, **more: object) -> None:
    """Called once by the process commands, before anything logs. Every line says `process` and
    `more`."""
    import structlog

    terminal = sys.stderr.isatty()
    # structlog's own trace renderers print local variables: keys and tenants' texts among them.
    traces = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if terminal else [traces]),
            console if terminal else structlog.processors.JSONRenderer(),
        ],
        # One write a line: several workers share the stream.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process, **more)
