"""Floor 0: what exists. The only state that Switchyard's processes share.

Tenants, keys, adapters, versions, aliases, engines, jobs, files, exchanges, feedback and decisions,
in SQLite or PostgreSQL, and adapter files in a content-addressed store. Knows nothing about HTTP,
models or metrics; imports nothing of the floors above.

    registry = Registry.open("sqlite:///home/registry.db", "file:///home/store")
"""

from registry.registry import Registry

__all__ = ["Registry"]
