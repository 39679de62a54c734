"""Listening sockets of the router. Knows addresses; nothing about who answers."""

from __future__ import annotations

import errno
import socket

BACKLOG = 2048


class PortInUse(Exception):
    """The router's port can't be bound."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(
            f"can't listen on {host}:{port}: {why}. Stop what listens there, or set another "
            "SWITCHYARD_ROUTER_PORT"
        )


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Listen at an address; port 0 takes a free one. `shared`: with others of this user that
    share it too (SO_REUSEPORT). Raises PortInUse."""
    listener = _socket(host)
    try:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _in_use(host, port, error) from error
    return listener


def require_free(host: str, port: int) -> None:
    """Raises PortInUse when anything listens there, willing to share or not."""
    with _socket(host) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _in_use(host, port, error) from error


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # as in admin/server.py
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def _in_use(host: str, port: int, error: OSError) -> PortInUse:
    taken = error.errno == errno.EADDRINUSE
    return PortInUse(host, port, "the port is in use" if taken else error.strerror or str(error))
