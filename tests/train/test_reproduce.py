"""A version made again: once for real, through search and all; and what is said when it differs."""

import json
import shutil

import pytest

from tests.train.making import jsonl, task, tickets
from train import reproduce
from train.reproduce import NotReproducible
from train.settings import WorkerSettings

WEIGHTS = reproduce.WEIGHTS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(task, outcome, folder of the adapter) of a small job with a search, trained here."""
    from tests.real_engine import make_base
    from train.pipeline import run

    folder = tmp_path_factory.mktemp("made")
    base = make_base(folder / "base")
    (folder / "training.jsonl").write_bytes(jsonl(tickets(40)))
    job = task(
        str(base),
        base_name="base",
        spec={"rank": 8, "epochs": 1, "search": 2, "max_length": 128},
        evaluation_rows=2,
        few_shot=0,
        probes=16,
    )
    news = []
    outcome = run(folder, job, news.append)
    return job, outcome, folder / "adapter", news


@pytest.fixture
def version(made, sqlite_registry):
    """It, as its job left it in the registry."""
    registry, (task, outcome, folder, _) = sqlite_registry, made
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", "base")
    file = registry.upload("acme", "tickets.jsonl", jsonl(tickets(40)))
    job = registry.jobs.enqueue("acme", "tickets", file, spec=task.spec)
    return registry.versions.publish(
        "acme",
        "tickets",
        registry.store.publish(folder),
        manifest=outcome["manifest"],
        evaluation={},
        verdict="insufficient",
        job_id=job.id,
    )


def settings(made, tmp_path):
    task = made[0]
    return WorkerSettings(
        base=task.base,
        scratch=tmp_path / "scratch",
        nice=0,
        device="cpu",
        evaluation_rows=task.evaluation_rows,
        few_shot=task.few_shot,
        general_rows=0,
        probes=task.probes,
    )


@pytest.mark.slow
def test_the_same_job_gives_the_same_bytes(made, version, sqlite_registry, tmp_path):
    # The adapter's own options have changed since: the version's are those of its manifest.
    sqlite_registry.adapters.update("acme", "tickets", training={"seed": 7, "dropout": 0.3})
    news = []
    came = reproduce.reproduce(
        sqlite_registry, settings(made, tmp_path), version, report=news.append
    )
    assert came.files == {}, came.reasons
    assert came.same
    assert {"search", "training"} <= {message.get("phase") for message in news}
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
def test_a_difference_is_told_by_file_by_weight_and_by_what_has_changed(made, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = made[2]
    other = shutil.copytree(folder, tmp_path / "other")
    manifest = json.loads((other / "switchyard.json").read_text())
    manifest["made_with"] |= {"torch": "2.0.0", "threads": 64}
    (other / "switchyard.json").write_text(json.dumps(manifest))
    weights = load_file(other / WEIGHTS)
    first = sorted(weights)[0]
    weights[first] = weights[first] + 0.25
    save_file(weights, other / WEIGHTS)
    (other / "README.md").unlink()
    came = reproduce.compare("0" * 64, other, folder)
    assert not came.same
    assert came.files == {
        "README.md": "only there now", WEIGHTS: "differs", "switchyard.json": "differs"
    }  # fmt: skip
    assert came.weights == pytest.approx(0.25)
    torch = made[1]["manifest"]["made_with"]["torch"]
    assert came.reasons == ["threads: 64 then, 1 now", f"torch: 2.0.0 then, {torch} now"]


@pytest.mark.slow
def test_the_manifest_and_the_card_say_what_was_searched_and_with_what(made):
    _, outcome, folder, news = made
    manifest = json.loads((folder / "switchyard.json").read_text())
    assert manifest == outcome["manifest"]
    assert manifest["search"] == outcome["result"]["search"]
    for name, value in manifest["search"]["chosen"].items():
        assert manifest["training"][name] == value
    assert manifest["made_with"]["threads"] == 1
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nbase_model: "base"\nlibrary_name: peft\n')
    assert manifest["dataset_sha256"] in card
    assert f"| 1 | {manifest['search']['trials'][0]['learning_rate']:.6g} |" in card
    for ticket in tickets(40):
        assert ticket["messages"][0]["content"] not in card
    assert any("small-data" in m.get("message", "") for m in news) is False  # a rank was named


def test_what_was_made_by_no_job_or_is_a_checkpoint_is_refused(sqlite_registry, tmp_path):
    from tests.registry.making import make_adapter, make_version

    make_adapter(sqlite_registry)
    version = make_version(sqlite_registry, 1)
    options = WorkerSettings(scratch=tmp_path)
    with pytest.raises(NotReproducible, match="not made by a job"):
        reproduce.task_of(sqlite_registry, options, version, tmp_path)
    version.job_id, version.step = "ftjob-gone", 5
    with pytest.raises(NotReproducible, match="is a checkpoint"):
        reproduce.task_of(sqlite_registry, options, version, tmp_path)
    version.step = None
    with pytest.raises(NotReproducible, match="made from is gone"):
        reproduce.task_of(sqlite_registry, options, version, tmp_path)


def test_versions_that_say_nothing_of_the_machine_get_an_honest_guess():
    assert "recorded as the same" in reproduce.explain({}, {})[0]
    assert reproduce.explain({}, {"made_with": {"threads": 2}}) == [
        "threads: not recorded then, 2 now"
    ]


def test_a_search_is_begun_again_where_it_began_and_not_where_it_ended():
    dials = {"learning_rate": 1e-3, "rank": 16, "epochs": 3.0, "dropout": 0.1}
    chosen = {"learning_rate": 2e-3, "rank": 8, "epochs": 2.0, "dropout": 0.2}
    search = {"chosen": chosen, "trials": [{"trial": 1, **dials}, {"trial": 2, **chosen}]}
    training = {"search": 2, "seed": 5, "alpha": 16, "later_option": 1, **chosen}
    manifest = {"training": training, "search": search}
    assert reproduce.asked(manifest) == {"search": 2, "seed": 5, **dials}
    training["alpha"] = 24
    assert reproduce.asked(manifest)["alpha"] == 24
    del manifest["search"]
    assert reproduce.asked(manifest) == {"search": 2, "seed": 5, "alpha": 24, **chosen}
