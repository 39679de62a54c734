"""From a base's files to the engines' rows: made once for a base, kept, never in the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitoring.meaning import Meaning
from registry import Registry
from serve.meanings import Teller, make, settle
from serve.vocabulary import UnreadableBase
from tests.serve.making import BASE, base_folder

OWN = Path(__file__).parents[2] / "train" / "base" / BASE


@pytest.fixture
def platform(sqlite_registry: Registry) -> Registry:
    for name, base in (("engine-0", BASE), ("engine-1", BASE), ("engine-2", "large")):
        sqlite_registry.engines.register(name, "http://e", base, max_loras=1, max_lora_rank=8)
    return sqlite_registry


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


def told(registry: Registry) -> list[str | None]:
    return [engine.meaning for engine in registry.engines.all()]


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for 60 s"
        time.sleep(0.01)


def test_a_bases_table_is_kept_and_said_of_all_its_engines(platform: Registry) -> None:
    digest = settle(platform, str(OWN), BASE)
    assert told(platform) == [digest, digest, None]
    assert Meaning.load(platform.store.blob(digest)).mark == make(OWN).mark


def test_a_table_that_another_engine_told_is_taken_as_it_is(platform: Registry) -> None:
    digest = settle(platform, str(OWN), BASE)
    platform.engines.register("engine-3", "http://e", BASE, max_loras=1, max_lora_rank=8)
    assert settle(platform, "a folder that nobody looks into", BASE) == digest
    assert platform.engines.get("engine-3").meaning == digest


@pytest.mark.parametrize("blob", [None, b"of an earlier release"], ids=["gone", "unknown"])
def test_a_table_that_cannot_be_used_is_made_anew(platform: Registry, blob: bytes | None) -> None:
    useless = "0" * 64 if blob is None else platform.store.put_blob(blob)
    platform.engines.set_meaning(BASE, useless)
    digest = settle(platform, str(OWN), BASE)
    assert digest != useless
    assert told(platform) == [digest, digest, None]


def test_a_base_that_cannot_be_read_is_one_warning(
    platform: Registry, tmp_path: Path, logs: list[Any]
) -> None:
    folder = base_folder(tmp_path / "bare")
    with pytest.raises(UnreadableBase, match=r"bare: it has no safetensors files"):
        settle(platform, str(folder), BASE)
    teller = Teller(platform, str(folder), BASE, again_s=0.0)
    teller.start()
    wait_for(lambda: logs)
    teller.stop(60)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("engine.meaning_unknown", "warning")
    ]
    assert told(platform) == [None, None, None]


def test_a_hubs_base_that_is_not_on_this_machine_is_not_downloaded(platform: Registry) -> None:
    with pytest.raises(UnreadableBase, match="nobody/nothing: it is not in the hub's cache"):
        settle(platform, "nobody/nothing", BASE)


def test_a_store_that_is_away_is_asked_again_with_one_warning(
    platform: Registry, tmp_path: Path, logs: list[Any]
) -> None:
    blobs = Path(platform.store.url.removeprefix("file://")) / "blobs"
    blobs.parent.mkdir(parents=True, exist_ok=True)
    blobs.write_bytes(b"in the way")
    teller = Teller(platform, str(OWN), BASE, again_s=0.01)
    teller.start()
    wait_for(lambda: logs)
    blobs.unlink()
    wait_for(lambda: platform.engines.meaning(BASE))
    teller.stop(60)
    assert [line["event"] for line in logs] == ["engine.meaning_late", "engine.meaning"]
