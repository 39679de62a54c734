"""Every objective and method, trained for a moment on a tiny random base: what comes out is a plain
LoRA, and a real vLLM computes with it what the trainer computed."""

import dataclasses
import json
import math
import shutil
import socket

import pytest

from tests.real_engine import make_base, running_engine
from tests.train.making import QUEUES, tickets
from train.engine import Engine
from train.forgetting import through
from train.general import made_up
from train.pipeline import learn
from train.reading import Data
from train.rows import Row
from train.spec import TrainingSpec
from train.split import Split
from train.task import Clock, Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUICK = {"rank": 8, "epochs": 4, "patience": 4, "seed": 3, "max_length": 256}
WAYS = {
    "lora": {},
    "qlora": {"quantize": "nf4"},
    "rslora": {"method": "rslora"},
    "dora": {"method": "dora"},
    "full": {"method": "full"},
    "dpo": {"objective": "dpo", "learning_rate": 1e-3},
    "kto": {"objective": "kto", "learning_rate": 1e-3},
    "pretrain": {"objective": "pretrain"},
}
PLAIN = {
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layers_to_transform": None,
    "peft_type": "LORA",
}


def rows(kind, count=56):
    """Tickets as chats, preferences, ratings or texts."""
    queues = list(QUEUES)
    found = []
    for line, record in enumerate(tickets(count), start=1):
        messages = tuple(record["messages"])
        asked, right = messages[0]["content"], messages[1]["content"]
        wrong = queues[(queues.index(right) + 1) % len(queues)]
        if kind == "text":
            text = f"{asked} That goes to {right}. " * 3
            found.append(Row(line, ({"role": "assistant", "content": text},), kind="text"))
        elif kind == "preference":
            found.append(Row(line, messages, kind=kind, rejected=wrong))
        elif kind == "rated":
            good = line % 2 == 0
            said = {"role": "assistant", "content": right if good else wrong}
            found.append(Row(line, (messages[0], said), kind=kind, good=good))
        else:
            found.append(Row(line, messages))
    return found


def work(folder, base, options, *, parent=None, given=None):
    """Train on the rows that the options want: (outcome, the adapter's folder)."""
    from train.combinations import ROW_KINDS

    folder.mkdir()
    if parent is not None:
        shutil.copytree(parent, folder / "parent")
        options = {**options, "parent": "0" * 64}
    spec = TrainingSpec.parse({**QUICK, **options})
    found = given or rows(ROW_KINDS[spec.objective])
    task = Task(
        tenant="acme",
        adapter="tickets",
        base=str(base),
        base_name=base.name,
        spec=spec.json(),
        answers={"kind": "label"},
        training="",
        validation=None,
        parent="parent" if parent else None,
        device="cpu",
        threads=1,
        nice=0,
        evaluation_rows=16,
        few_shot=0,
        probes=16,
    )

    def unheard(_):
        pass

    general = made_up(0 if options else 12)
    data = Data(Split(found[:-16], found[-16:], [], []), found[-16:], general=general)
    return learn(folder, task, spec, data, Clock(unheard), unheard), folder / "adapter"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def done(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    return {name: work(folder / name, base, options) for name, options in WAYS.items()}


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_falls_and_the_folder_is_a_plain_lora(done, way):
    outcome, folder = done[way]
    training = outcome["result"]["training"]
    assert training["last_loss"] < 0.9 * training["first_loss"]
    assert math.isfinite(training["validation_loss"])
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "probes.json",
        "switchyard.json",
    ]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert {key: config[key] for key in PLAIN} == PLAIN
    assert (config["r"], config["lora_alpha"]) == (
        (8, 16) if way in ("lora", "qlora", "dpo", "kto", "pretrain") else (8, 8)
    )


def test_the_weights_have_no_name_but_a_loras(done):
    from safetensors import safe_open

    for _, folder in done.values():
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            names = list(file.keys())
        assert {name.rsplit(".", 2)[1] for name in names} == {"lora_A", "lora_B"}
        assert len(names) == 2 * 7 * 4  # two factors of seven projections in four layers


def test_what_the_rank_leaves_out_is_told(done):
    errors = {
        way: done[way][0]["manifest"]["compiled"]["error"] for way in ("rslora", "dora", "full")
    }
    assert errors["rslora"] == 0.0
    assert 0.0 < errors["dora"] < 0.5
    assert 0.0 < errors["full"] < 1.0
    for way in errors:
        outcome = done[way][0]
        assert outcome["result"]["compiled"] == outcome["manifest"]["compiled"]
        assert len(outcome["manifest"]["compiled"]["modules"]) == 28
        assert outcome["evaluation"]["compiled"]["error"] == errors[way]
    assert "compiled" not in done["lora"][0]["manifest"]


def test_every_evaluation_tells_the_perplexity_of_base_and_adapter(done):
    for way, (outcome, _) in done.items():
        measured = outcome["evaluation"]["perplexity"]
        assert measured["adapter"]["perplexity"] < measured["base"]["perplexity"], way
        assert measured["adapter"]["tokens"] == measured["base"]["tokens"] > 0


def test_perplexity_is_the_exponential_of_the_validation_loss(done):
    evaluation = done["lora"][0]["evaluation"]
    assert evaluation["perplexity"]["adapter"]["loss"] == pytest.approx(
        evaluation["loss"], rel=1e-3
    )


def test_preferences_are_judged_by_which_answer_is_likelier(done):
    evaluation = done["dpo"][0]["evaluation"]
    assert (evaluation["kind"], evaluation["n"]) == ("preference", 16)
    assert evaluation["adapter"]["exact"] > evaluation["base_zero_shot"]["exact"]


def test_texts_are_judged_by_how_well_they_are_predicted(done):
    outcome, _ = done["pretrain"]
    evaluation = outcome["evaluation"]
    assert evaluation["kind"] == "perplexity"
    assert evaluation["adapter"]["score"] > evaluation["base_zero_shot"]["score"]
    assert outcome["verdict"] == "promote", outcome["reasons"]


def test_ratings_are_judged_by_the_answers_that_were_liked(done):
    assert done["kto"][0]["evaluation"]["n"] == 8


def test_preferences_go_on_from_the_parent_and_are_held_to_it(base, done, tmp_path):
    """With next to no learning rate the result is the parent, not the base."""
    from safetensors.torch import load_file

    options = {"objective": "dpo", "learning_rate": 1e-8, "epochs": 1}
    outcome, folder = work(tmp_path / "job", base, options, parent=done["lora"][1])
    before = load_file(done["lora"][1] / "adapter_model.safetensors")
    after = load_file(folder / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert max(float((after[name] - before[name]).abs().max()) for name in before) < 1e-5
    assert outcome["result"]["training"]["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
    evaluation = outcome["evaluation"]
    assert evaluation["parent"]["score"] == evaluation["adapter"]["score"]


def test_accumulated_batches_learn_as_one_large_batch_does(base, tmp_path):
    from safetensors.torch import load_file

    plain = {"dropout": 0.0, "epochs": 2, "learning_rate": 1e-3}
    parts = ({"batch_size": 8}, {"batch_size": 2, "gradient_accumulation": 4})
    found = [
        dataclasses.replace(r, messages=(r.messages[0], {"role": "assistant", "content": "x " * n}))
        for n, r in enumerate(rows("chat", 40), start=1)
    ]  # answers of all lengths: a mean of the parts' means would be another loss
    one, other = (
        load_file(
            work(tmp_path / str(n), base, {**plain, **part}, given=found)[1]
            / "adapter_model.safetensors"
        )
        for n, part in enumerate(parts)
    )
    moved = max(float(w.abs().max()) for name, w in one.items() if "lora_B" in name)
    assert moved > 1e-3
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 0.02 * moved


async def test_a_real_engine_computes_what_the_trainer_computed(
    base, done, tmp_path, sqlite_template
):
    """One vLLM, every way of training: served under its name, certified by the swapper."""
    from monitoring.metrics import Metrics
    from registry import Registry
    from serve.settings import EngineSettings, SwapSettings
    from serve.swap import Swapper

    shutil.copy(sqlite_template, tmp_path / "registry.db")
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.db", f"file://{tmp_path}/store")
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", base.name)
    registry.aliases.ensure("acme", "tickets", "tickets")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = "engine-key"
    settings = EngineSettings(
        base=str(base),
        store_url=f"file://{tmp_path}/store",
        staging=tmp_path / "staging-engine",
        log_file=tmp_path / "engine.log",
        engine_api_key=key,
        port=port,
        max_loras=4,
        max_cpu_loras=8,
        kv_cache_gib=0.1,
        heartbeat_s=0.5,
    )
    swap = SwapSettings(engine_api_key=key, staging=tmp_path / "staging-swap", drain_s=0.0)
    with running_engine(settings, registry, Metrics(), timeout_s=500):
        for way, (_, folder) in done.items():
            digest = registry.store.publish(folder)
            registry.versions.publish(
                "acme", "tickets", digest, manifest={}, evaluation={}, verdict="promote"
            )
            swapper = Swapper(registry, swap, Metrics())
            await swapper.tick()
            await swapper.shutdown()
            version = registry.versions.get(digest)
            assert version.state == "live", (way, version.reasons)
            (figures,) = version.certificate["engines"].values()
            assert figures["parity_mean"] < 1e-3, (way, figures)
            assert figures["effect_mean"] > 0.02, (way, figures)
            if way == "lora":
                engine_forgets_alike(Engine(settings.url, key), done[way][0], version.served_name)
    registry.close()


def engine_forgets_alike(engine, outcome, adapter):
    """What was forgotten is the same in memory and through the engine."""
    models = {"base": outcome["manifest"]["base"], "adapter": adapter}
    found = through(engine, models, "made-up", made_up(12).measured, None).figures()
    memory = outcome["evaluation"]["general"]
    assert found["rows_sha256"] == memory["rows_sha256"]
    for system in models:
        assert found[system]["perplexity"] == pytest.approx(memory[system]["perplexity"], rel=1e-2)
    assert found["change"] == pytest.approx(memory["change"], abs=1e-2)
    assert abs(memory["change"]) > 1e-3
