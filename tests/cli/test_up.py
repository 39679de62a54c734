"""`switchyard up` and what surrounds it: the lock, the ports, the run file, the curl lines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import curl, ports, room_settings
from cli.errors import AlreadyRunning, CliError, PortInUse
from cli.home import Home, read_json
from cli.lock import HomeLock
from cli.platform import Platform
from cli.ports import Port
from registry import Registry
from registry.settings import SettingsError
from tests.cli.conftest import Switchyard


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_second_up_on_one_folder_is_told_who_is_there(switchyard: Switchyard) -> None:
    lock = HomeLock(switchyard.folder)
    lock.acquire()
    try:
        result = switchyard("up", code=1)
    finally:
        lock.release()
    assert f"`switchyard up` runs there already (process {os.getpid()})" in result.stderr
    assert "--home" in result.stderr


def test_the_lock_ends_with_its_holder_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from cli.lock import HomeLock; "
        "HomeLock(pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(100)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(AlreadyRunning, match=f"process {holder.pid}"):
        HomeLock(tmp_path).acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    lock = HomeLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_port_in_use_is_named_with_its_setting_and_its_owner(
    switchyard: Switchyard, taken: int
) -> None:
    result = switchyard("up", "--port", taken, code=1)
    assert f"port {taken} on 127.0.0.1, wanted for the router, is in use" in result.stderr
    assert f"process {os.getpid()}" in result.stderr
    assert "SWITCHYARD_ROUTER_PORT" in result.stderr


def test_two_processes_can_t_have_one_port() -> None:
    both = [
        Port("the router", "127.0.0.1", 8080, "SWITCHYARD_ROUTER_PORT"),
        Port("the engine", "127.0.0.1", 8080, "SWITCHYARD_ENGINE_PORT"),
    ]
    with pytest.raises(CliError, match="SWITCHYARD_ENGINE_PORT and SWITCHYARD_ROUTER_PORT"):
        ports.require_free(both)


def test_a_port_that_was_left_a_moment_ago_is_free() -> None:
    (number,) = ports.pick_free(1)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", number))
        listener.listen()
        assert ports.accepts("127.0.0.1", number)
        with pytest.raises(PortInUse):
            ports.require_free([Port("x", "127.0.0.1", number, "X_PORT")])
    ports.require_free([Port("x", "127.0.0.1", number, "X_PORT")])
    assert not ports.accepts("127.0.0.1", number)


def test_wrong_settings_of_all_rooms_are_told_together(home: Home) -> None:
    environ = {
        "SWITCHYARD_ROUTER_PORT": "x",
        "SWITCHYARD_ENGINE_MAX_LORAS": "0",
        "SWITCHYARD_WORKER_NO_SUCH": "1",
    }
    with pytest.raises(SettingsError) as caught:
        room_settings.everything(Home(home.folder, environ))
    assert len(caught.value.errors) == 3


def test_the_home_fills_in_what_rooms_share(home: Home) -> None:
    environ = {"SWITCHYARD_ENGINE_API_KEY": "shared", "SWITCHYARD_ENGINE_BASE": "/models/base"}
    settings = room_settings.everything(Home(home.folder, environ))
    keys = {settings[name].engine_api_key for name in ("engine", "router", "swap")}
    assert keys == {"shared"}
    assert settings["engine"].base == settings["worker"].base == "/models/base"
    assert settings["engine"].store_url == f"file://{home.folder}/store"


def test_each_process_is_this_command_in_this_home(home: Home, home_registry: Registry) -> None:
    platform = Platform.read(home)
    specs = platform.specs(home_registry)
    assert sorted(spec.name for spec in specs) == sorted(platform.drain_order)
    for spec in specs:
        assert spec.command[1:] == ("-m", "cli.main", "--home", str(home.folder), spec.name, "run")
        assert not spec.ready()
    assert platform.url == "http://127.0.0.1:8080"


def test_curl_lines_have_the_demo_s_keys_and_a_placeholder_for_others(
    home: Home, home_registry: Registry
) -> None:
    assert "switchyard tenant create" in "\n".join(curl.lines(home, home_registry, "http://r"))
    home_registry.tenants.create("acme")
    home_registry.tenants.create("other-one")
    home.save_demo_tenants({"acme": {"key": "sk-sy-demo", "messages": None}})
    text = "\n".join(curl.lines(home, home_registry, "http://r"))
    assert "curl -s http://r/v1/chat/completions" in text
    assert "Bearer sk-sy-demo" in text
    assert "Bearer $OTHER_ONE_KEY" in text
    assert "`switchyard key create TENANT`" in text


def test_a_wrong_base_ends_up_with_what_to_do(home: Home, tmp_path: Path) -> None:
    """The real command: the engine refuses to start, `up` gives up at once and says why."""
    numbers = ports.pick_free(5)
    names = (
        "ROUTER_PORT",
        "ENGINE_PORT",
        "ROUTER_METRICS_PORT",
        "WORKER_METRICS_PORT",
        "CONTROLLER_METRICS_PORT",
    )
    environ = {**os.environ} | {
        f"SWITCHYARD_{name}": str(number) for name, number in zip(names, numbers, strict=True)
    }
    command = [sys.executable, "-m", "cli.main", "--home", str(home.folder), "up"]
    result = subprocess.run(
        [*command, "--base", str(tmp_path / "no-base")],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "no base model at" in result.stderr
    assert "Traceback" not in result.stderr
    assert "everything has ended" not in result.stderr
    deadline = time.monotonic() + 10
    while any(ports.accepts("127.0.0.1", number) for number in numbers):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)
    assert read_json(home.run / "up.json") == {}
