"""The admin API for tests: a real server on a free port, and a client that has its key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from registry import Registry
from router.admin.server import AdminServer
from router.settings import RouterSettings

ADMIN_KEY = "admin-key-that-nobody-else-has"


@contextmanager
def administered(registry: Registry) -> Iterator[httpx.Client]:
    """A client of an admin API on this registry."""
    server = AdminServer(RouterSettings(admin_key=ADMIN_KEY, admin_port=0), registry)
    server.startup()
    assert server.url is not None
    try:
        with client_of(server.url) as client:
            yield client
    finally:
        server.shutdown()


@contextmanager
def client_of(url: str) -> Iterator[httpx.Client]:
    """A client with the key, once the server answers."""
    key = {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=url, headers=key, timeout=10, trust_env=False) as client:
        deadline = time.monotonic() + 10
        while client.get("/health").status_code != 200:
            assert time.monotonic() < deadline, "the admin API did not answer"
        yield client


def refused(answer: httpx.Response, status: int, code: str, param: str | None = None) -> str:
    """Hold an answer to the error's shape and what was expected of it; its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert "Traceback" not in answer.text
    return str(error["message"])
