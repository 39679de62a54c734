"""The worker's settings, and the base behind a name."""

import pytest

from registry.settings import SettingsError, load
from train.settings import SHIPPED_BASE, WorkerSettings, base_name

PREFIX = "SWITCHYARD_WORKER_"


def test_nothing_set_trains_on_the_shipped_base():
    settings = load(WorkerSettings, PREFIX, {})
    assert settings.base_name == "switchyard-tiny"
    assert settings.resolve("switchyard-tiny") == str(SHIPPED_BASE)


def test_another_base_goes_by_its_own_name(tmp_path):
    assert WorkerSettings().resolve("org/model") == "org/model"
    assert base_name("org/model") == "org/model"
    assert base_name(str(tmp_path)) == tmp_path.name


def test_a_lease_that_would_run_out_between_renewals_is_refused():
    with pytest.raises(SettingsError, match="expected at most a third"):
        load(WorkerSettings, PREFIX, {f"{PREFIX}RENEW_S": "30", f"{PREFIX}LEASE_S": "60"})


def test_a_wrong_device_is_named():
    with pytest.raises(SettingsError, match="expected one of auto, cpu, cuda"):
        load(WorkerSettings, PREFIX, {f"{PREFIX}DEVICE": "tpu"})


def test_a_general_set_that_is_not_there_is_told_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match="is not a file: expected JSON Lines"):
        load(WorkerSettings, PREFIX, {f"{PREFIX}GENERAL": str(tmp_path / "no.jsonl")})
    (tmp_path / "chats.jsonl").touch()
    found = load(WorkerSettings, PREFIX, {f"{PREFIX}GENERAL": str(tmp_path / "chats.jsonl")})
    assert found.general == tmp_path / "chats.jsonl"
