"""Ports that the platform listens on: looked at before anything starts, and named when taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from cli.errors import CliError, PortInUse


@dataclass(frozen=True)
class Port:
    """`number` on `host`, listened on for `what`, chosen by the environment variable `setting`."""

    what: str
    host: str
    number: int
    setting: str


def require_free(ports: Sequence[Port]) -> None:
    """Raises PortInUse for the first that is taken; CliError where two of ours are the same."""
    seen: dict[int, Port] = {}
    for port in ports:
        other = seen.get(port.number)
        if other is not None:
            raise CliError(
                f"{port.setting} and {other.setting} are both {port.number}: {port.what} and "
                f"{other.what} need a port each"
            )
        seen[port.number] = port
    for port in ports:
        if not is_free(port.host, port.number):
            raise PortInUse(port.what, port.host, port.number, port.setting, owner(port.number))


def is_free(host: str, number: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: a connection that was closed a moment ago is no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
            # Binding alone succeeds beside a listener of the same kind on another address.
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def pick_free(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that are free at this moment, all different, none next to another."""
    probes: list[socket.socket] = []
    chosen: list[int] = []
    try:
        while len(chosen) < count:
            probes.append(socket.socket())
            probes[-1].bind((host, 0))
            number = int(probes[-1].getsockname()[1])
            taken = {near for port in chosen for near in (port, port + 1)}
            if not {number, number + 1} & taken and number < 65535 and is_free(host, number + 1):
                chosen.append(number)
        return chosen
    finally:
        for probe in probes:
            probe.close()


def accepts(host: str, number: int, timeout: float = 0.5) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, number), timeout=timeout):
            return True
    except OSError:
        return False


def owner(number: int) -> str:
    """Who listens on a port, as far as this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == number:
                if connection.pid is None:
                    return "another user's process"
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass  # not ours to see: the message does without it
    return ""
