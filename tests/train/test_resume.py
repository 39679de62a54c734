"""Killed at any moment, training goes on from its last state to the same bytes.

Processes are forks of one that has imported torch (tests/train/forked.py).
"""

import collections
import json
import os
import subprocess
import sys

import pytest

from tests.real_engine import make_base
from tests.train.making import jsonl, tickets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    make_base(folder / "base")
    (folder / "training.jsonl").write_bytes(jsonl(tickets(25)))
    return folder


@pytest.fixture(scope="module")
def done(folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "tests.train.forked", str(folder), str(KILLS), "7"],
        env=environment, stdout=subprocess.PIPE, check=True, timeout=550,
    )  # fmt: skip
    return json.loads(process.stdout)


def told(moment):
    """In a word, where a process was killed."""
    if moment["ended"]:
        return "too late"
    if moment["writing"]:
        return "writing a state"
    if moment["phase"] == "training":
        return "training, with a state" if moment["state"] else "before the first state"
    return "after training" if moment["state"] else "before training"


def test_after_a_kill_at_any_moment_the_adapter_is_the_same_to_the_byte(done):
    moments = collections.Counter(told(moment) for moment in done["found"])
    print(f"{KILLS} kills: {dict(moments)}; {done['took_s']} s")
    assert [moment["digests"] for moment in done["found"]] == [done["expected"]] * KILLS
    assert {"writing a state", "after training"} <= {*moments}
    assert moments["before training"] + moments["before the first state"] > 0
    resumed = sum("Training goes on after step" in " ".join(m["told"]) for m in done["found"])
    assert resumed == sum(moment["state"] is not None for moment in done["found"]) > KILLS / 2


def test_training_that_is_to_rest_keeps_its_state_within_a_step_and_goes_on_from_it(done):
    paused = done["paused"]
    assert paused["code"] == 4
    assert paused["told"][-1] == paused["last"] < 15, "the step in hand is kept, and is the last"
    assert paused["digests"] == done["expected"]


def test_a_state_of_other_options_or_a_damaged_one_is_not_gone_on_from(done):
    for name in ("other", "cut"):
        assert any("does not fit" in message for message in done["unfit"][name]["told"])
    assert done["unfit"]["cut"]["digests"] == done["expected"]
    assert done["unfit"]["other"]["digests"] != done["expected"]


def test_a_full_disk_and_too_little_memory_end_the_run_with_what_to_do(done):
    assert done["disk"]["outcome"]["error"]["code"] == "disk_full"
    assert not {"trainer", "states"} & {*done["disk"]["left"]}, "room is given back"
    assert done["memory"]["outcome"]["error"]["code"] == "out_of_memory"


def test_each_steps_figures_are_kept_over_a_kill_as_openai_lays_them_out(done):
    header, *lines = done["metrics"].splitlines()
    assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert [int(line.split(",")[0]) for line in lines] == [*range(1, 16)]
    measured = [line.split(",")[0] for line in lines if line.split(",")[3]]
    assert measured == ["5", "10", "15"]


def test_a_checkpoints_manifest_says_its_step(done):
    assert done["manifest"]["step"] == 15
