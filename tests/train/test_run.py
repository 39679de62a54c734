"""The pipeline for real, in this process: the shipped base learns a small task."""

import json
import math
import random
import shutil
from dataclasses import replace

import pytest

from registry.store import Store
from tests.train.making import QUEUES, jsonl, record, task, tickets
from train.errors import InvalidTrainingFile
from train.pipeline import run
from train.settings import SHIPPED_BASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TASK = task(
    str(SHIPPED_BASE),
    base_name="switchyard-tiny",
    spec={
        "rank": 8,
        "epochs": 3,
        "batch_size": 8,
        "validation_fraction": 0.1,
        "test_fraction": 0.25,
    },
    evaluation_rows=40,
    few_shot=3,
    probes=16,
)


def work(folder, task, records):
    """Run the task on records; (outcome, news, digest of the adapter folder)."""
    folder.mkdir()
    (folder / "training.jsonl").write_bytes(jsonl(records))
    news = []
    outcome = run(folder, task, news.append)
    digest = Store(f"file://{folder}/store").publish(folder / "adapter")
    return outcome, news, digest


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "job"
    return folder, *work(folder, TASK, tickets(120))


def test_the_loss_falls(done):
    _, outcome, _, _ = done
    training = outcome["result"]["training"]
    assert training["last_loss"] < 0.5 * training["first_loss"]
    assert training["trained_tokens"] > 0
    assert math.isfinite(training["validation_loss"])


def test_progress_tells_phase_step_loss_and_time_left(done):
    _, outcome, news, _ = done
    progress = [message for message in news if message["kind"] == "progress"]
    assert [m["phase"] for m in progress if len(m) == 2][:4] == [
        "reading", "import", "loading", "auditing"
    ]  # fmt: skip
    steps = [m for m in progress if m["phase"] == "training" and m.get("step")]
    assert [m["step"] for m in steps] == list(range(1, outcome["result"]["training"]["steps"] + 1))
    assert steps[-1]["eta_s"] == 0.0
    assert steps[-1]["loss"] is not None
    assert sum(message["kind"] == "checkpoint" for message in news) == 3


def test_the_adapter_beats_the_base_and_is_promoted(done):
    _, outcome, _, _ = done
    evaluation = outcome["evaluation"]
    assert evaluation["kind"] == "label"
    assert (
        evaluation["adapter"]["n"]
        == evaluation["n"]
        == len(range(outcome["result"]["data"]["test_rows"]))
    )
    assert evaluation["adapter"]["exact"] >= evaluation["base_zero_shot"]["exact"] + 0.5
    assert evaluation["base_few_shot"]["examples"] == 3
    assert outcome["verdict"] == "promote", outcome["reasons"]


def test_the_folder_is_what_the_engine_takes(done):
    folder, outcome, _, _ = done
    names = sorted(path.name for path in (folder / "adapter").iterdir())
    assert names == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "probes.json",
        "switchyard.json",
    ]  # fmt: skip
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["bias"]) == (8, 16, "none")
    assert (config["use_dora"], config["modules_to_save"]) == (False, None)
    assert "lm_head" not in config["target_modules"]
    manifest = json.loads((folder / "adapter" / "switchyard.json").read_text())
    assert manifest == outcome["manifest"]
    assert (manifest["tenant"], manifest["base"]) == ("acme", "switchyard-tiny")
    assert manifest["training"]["learning_rate"] > 0


def test_the_manifest_carries_the_bases_fingerprint(done):
    from registry.fingerprint import base_fingerprint, differences

    assert differences(done[1]["manifest"], base_fingerprint(SHIPPED_BASE)) == []


def test_nothing_in_the_folder_tells_where_it_was_made(done):
    folder = done[0]
    for path in (folder / "adapter").iterdir():
        content = path.read_bytes()
        assert str(folder).encode() not in content
        assert str(SHIPPED_BASE.parent).encode() not in content


def test_probes_show_an_effect_and_are_teacher_forced_by_the_same_model(done):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = done[0]
    found = json.loads((folder / "adapter" / "probes.json").read_text())
    assert found["dtype"] == "float32"
    probes = found["probes"]
    assert len(probes) >= 16
    effect = [
        abs(a - b)
        for probe in probes
        for a, b in zip(probe["logprobs"], probe["base_logprobs"], strict=True)
    ]
    assert sum(effect) / len(effect) > 0.5
    base = AutoModelForCausalLM.from_pretrained(SHIPPED_BASE, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder / "adapter").eval()
    for probe in probes[:4]:
        ids, start = probe["token_ids"], probe["prompt_length"]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        again = [float(logits[i - 1, ids[i]]) for i in range(start, len(ids))]
        assert probe["logprobs"] == pytest.approx(again, abs=1e-3)


def test_the_same_seed_gives_the_same_digest_and_another_another(done, tmp_path):
    task = replace(TASK, spec={**TASK.spec, "seed": 1})
    assert work(tmp_path / "again", TASK, tickets(120))[2] == done[3]
    assert work(tmp_path / "other", task, tickets(120))[2] != done[3]


def test_early_stopping_takes_the_best_epoch(tmp_path):
    """Answers without rhyme or reason can only be learned by heart: the training loss goes on
    falling, the validation loss does not."""
    answers = random.Random(3)
    records = [
        record(r["messages"][0]["content"], answers.choice(list(QUEUES))) for r in tickets(60)
    ]
    task = replace(TASK, spec={**TASK.spec, "epochs": 12, "patience": 1})
    outcome, news, _ = work(tmp_path / "job", task, records)
    losses = [m["metrics"]["valid_loss"] for m in news if m["kind"] == "checkpoint"]
    training = outcome["result"]["training"]
    assert len(losses) < 12
    assert training["validation_loss"] == pytest.approx(min(losses))
    assert training["best_epoch"] == losses.index(min(losses)) + 1
    assert outcome["verdict"] != "promote"


def test_a_version_is_compared_with_its_parent_on_the_same_rows(done, tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    shutil.copytree(done[0] / "adapter", folder / "parent")
    (folder / "training.jsonl").write_bytes(jsonl(tickets(120)))
    spec = {**TASK.spec, "epochs": 1, "learning_rate": 1e-6, "parent": done[3]}
    outcome = run(folder, replace(TASK, parent="parent", spec=spec), lambda _: None)
    parent = outcome["evaluation"]["parent"]
    assert parent["exact"] == done[1]["evaluation"]["adapter"]["exact"]
    assert outcome["manifest"]["parent"] == done[3]
    assert outcome["verdict"] == "reject"


def test_a_validation_file_is_what_is_measured_on(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    rows = tickets(60)
    (folder / "training.jsonl").write_bytes(jsonl(rows[:48]))
    (folder / "validation.jsonl").write_bytes(jsonl(rows[48:]))
    task = replace(TASK, validation="validation.jsonl", spec={**TASK.spec, "epochs": 1})
    outcome = run(folder, task, lambda _: None)
    assert outcome["evaluation"]["n"] == 12


def test_four_bit_training_is_judged_and_probed_on_the_whole_base(tmp_path):
    spec = {**TASK.spec, "quantize": "nf4", "epochs": 2}
    outcome, _, _ = work(tmp_path / "job", replace(TASK, spec=spec), tickets(60))
    training = outcome["result"]["training"]
    assert training["last_loss"] < training["first_loss"]
    probes = json.loads((tmp_path / "job" / "adapter" / "probes.json").read_text())
    assert probes["dtype"] == "float32"


def test_rows_that_are_no_rows_end_the_run_with_their_lines(tmp_path):
    with pytest.raises(InvalidTrainingFile, match="line 2: messages"):
        work(tmp_path / "job", TASK, [record("a", "b"), "{}"])
