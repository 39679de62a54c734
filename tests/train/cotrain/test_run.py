"""Several jobs as one process: each gets its own outcome and folder, whatever the others do."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from string import ascii_lowercase

import pytest
from safetensors.torch import load_file, save_file

from tests.real_engine import make_base
from tests.train.making import jsonl, record, task, tickets
from train.cotrain.run import run
from train.forgetting import MAX_FORGETTING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GENERAL = [record(f"what is {letter}", f"it is {letter}") for letter in ascii_lowercase]
TASK = task(
    "",
    spec={"rank": 4, "epochs": 1, "batch_size": 8, "validation_fraction": 0.25},
    evaluation_rows=4,
    few_shot=1,
)


def lay_out(folder, task, records):
    folder.mkdir()
    (folder / "training.jsonl").write_bytes(jsonl(records))
    (folder / "task.json").write_text(json.dumps(asdict(task)))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cotrain")
    made = replace(TASK, base=str(make_base(folder / "tiny")))
    lay_out(folder / "one", made, tickets(30))
    spec = {**made.spec, "rank": 8, "seed": 5, "replay": 0.25, "replay_source": "file"}
    other = replace(made, tenant="lex", spec=spec, general="general.jsonl", general_rows=6)
    lay_out(folder / "two", other, tickets(24, seed=1))
    (folder / "two" / "general.jsonl").write_bytes(jsonl(GENERAL))
    lay_out(folder / "broken", made, ["{}"])
    lay_out(folder / "unfit", replace(made, spec={"method": "dora"}), tickets(24))
    lay_out(folder / "paused", made, tickets(24))
    (folder / "paused" / "pause").touch()
    names = ("one", "two", "broken", "unfit", "paused")
    jobs = {f"job-{name}": name for name in names}
    (folder / "task.json").write_text(json.dumps({"seats": 2, "jobs": jobs}))
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-m", "train.cotrain", str(folder)],
        stdin=subprocess.PIPE,  # held open: its end would end the run
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"},
        text=True,
    )
    with process:
        news = [json.loads(line) for line in process.stdout]
        log = process.stderr.read()
    assert process.returncode == 0, log
    return folder, news


def outcome(folder, name):
    return json.loads((folder / name / "outcome.json").read_text())


@pytest.mark.parametrize(("name", "tenant", "rank"), [("one", "acme", 4), ("two", "lex", 8)])
def test_each_job_leaves_an_adapter_of_its_own_with_figures(done, name, tenant, rank):
    folder, _ = done
    files = sorted(path.name for path in (folder / name / "adapter").iterdir())
    assert files == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "probes.json",
        "switchyard.json",
    ]
    manifest = json.loads((folder / name / "adapter" / "switchyard.json").read_text())
    assert (manifest["tenant"], manifest["rank"]) == (tenant, rank)
    found = outcome(folder, name)
    assert found["manifest"] == manifest
    assert found["evaluation"]["n"] > 0
    steps = found["result"]["training"]["steps"]
    assert steps > 0
    assert found["result"]["supervision"]["adapted_modules"] == 28
    first, *rows = (folder / name / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(first.split(","), row.split(","), strict=True)) for row in rows]
    assert [row["step"] for row in rows] == [str(n) for n in range(1, steps + 1)]
    assert all(float(row["train_loss"]) > 0 for row in rows)
    assert float(rows[-1]["valid_loss"]) == found["result"]["training"]["validation_loss"]
    probes = json.loads((folder / name / "adapter" / "probes.json").read_text())["probes"]
    assert any(each["logprobs"] != each["base_logprobs"] for each in probes)


def test_a_job_among_others_replays_a_files_rows_and_tells_what_it_forgot(done):
    folder, _ = done
    found = outcome(folder, "two")
    assert found["result"]["data"]["replay_rows"] == round(
        0.25 * found["result"]["data"]["train_rows"]
    )
    general = found["evaluation"]["general"]
    assert (general["source"], general["n"], general["max_forgetting"]) == (
        "file",
        6,
        MAX_FORGETTING,
    )
    assert general["change"] != 0
    assert "general" not in outcome(folder, "one")["evaluation"]


def test_jobs_that_are_wrong_end_with_their_own_error(done):
    folder, _ = done
    assert outcome(folder, "broken")["error"]["code"] == "invalid_training_file"
    assert outcome(folder, "unfit")["error"]["param"] == "method"


def test_a_paused_job_leaves_its_state_and_no_outcome(done):
    folder, _ = done
    assert (folder / "paused" / "state" / "trainee.safetensors").is_file()
    assert not (folder / "paused" / "outcome.json").exists()


def test_news_say_whose_they_are(done):
    _, news = done
    for name in ("job-one", "job-two"):
        own = [each for each in news if each["job"] == name]
        steps = [each["step"] for each in own if each.get("step") and each["kind"] == "progress"]
        assert steps == list(range(1, len(steps) + 1)) != []
        assert any(each["kind"] == "checkpoint" for each in own)


def test_a_job_with_a_layer_that_the_loss_does_not_reach_ends_with_the_reason(tmp_path):
    """What a layer of the base puts out is nothing, so what feeds it can't learn."""
    base = make_base(tmp_path / "tiny")
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"].zero_()
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    lay_out(tmp_path / "one", replace(TASK, base=str(base)), tickets(24))
    told = []
    run(tmp_path, 1, {"job-one": "one"}, lambda job, news: told.append((job, news)))
    error = outcome(tmp_path, "one")["error"]
    assert error["code"] == "supervision_failed"
    assert "layers.0.mlp.gate_proj, model.layers.0.mlp.up_proj" in error["message"]
    assert told[-1] == ("job-one", {"kind": "left", "paused": False})
