"""`switchyard train`: what is refused before anything is uploaded, and what a job is made from."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from registry import Registry
from tests.cli.conftest import Switchyard
from tests.registry.making import digest_of

GOOD = {
    "messages": [
        {"role": "user", "content": "my invoice is wrong"},
        {"role": "assistant", "content": "billing"},
    ]
}
NO_ANSWER = {"messages": [{"role": "user", "content": "hello"}]}


def data_file(folder: Path, *lines: object) -> Path:
    path = folder / "tickets.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def test_bad_rows_are_named_by_line_and_field_and_nothing_is_uploaded(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD, '{"messages": [', NO_ANSWER, GOOD)
    result = switchyard("train", data, "-t", "acme", "-a", "tickets", code=1)
    assert "has 2 bad rows; nothing was uploaded" in result.stderr
    assert "line 2: expected one JSON object, found broken JSON at column" in result.stderr
    assert "line 3: messages[0].role: expected assistant (the answer to learn)" in result.stderr
    assert "train on the 2 good rows with --keep-good-rows" in result.stderr
    assert home_registry.files.all("acme") == []
    assert home_registry.jobs.all() == []
    assert home_registry.adapters.all() == []


def test_good_rows_are_kept_only_if_the_user_says_so(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD, "not json")
    switchyard("train", data, "-t", "acme", "-a", "tickets", "--keep-good-rows", "--no-follow")
    (job,) = home_registry.jobs.all()
    assert job.spec["keep_good_rows"] is True


def test_a_file_without_any_good_row_is_refused_either_way(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, "not json")
    result = switchyard("train", data, "-t", "acme", "-a", "x", "--keep-good-rows", code=1)
    assert "there is no good row in it" in result.stderr
    empty = data_file(tmp_path)
    assert "holds no rows" in switchyard("train", empty, "-t", "acme", "-a", "x", code=1).stderr
    missing = tmp_path / "missing.jsonl"
    result = switchyard("train", missing, "-t", "acme", "-a", "x", code=1)
    assert f"{missing} is not a file" in result.stderr


def test_a_job_gets_the_file_the_options_and_an_alias(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD)
    words = ["train", data, "-t", "acme", "-a", "tickets", "--rank", 8, "--set", "patience=3"]
    value = switchyard.json(*words, "--no-follow", "--kind", "label")
    job = home_registry.jobs.get(value["job"])
    assert job.spec == {"rank": 8, "patience": 3}
    assert home_registry.content("acme", job.training_file) == data.read_bytes()
    assert home_registry.adapters.get("acme", "tickets").answers == {"kind": "label"}
    assert home_registry.tenants.get("acme").default_alias == "tickets"


def test_a_preset_and_a_search_are_options_of_the_job(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD)
    words = ["train", data, "-t", "acme", "-a", "tickets", "--no-follow"]
    value = switchyard.json(*words, "--preset", "small-data", "--search", 4, "--method", "rslora")
    job = home_registry.jobs.get(value["job"])
    assert job.spec == {"preset": "small-data", "method": "rslora", "search": 4}
    result = switchyard(*words, "--preset", "huge", code=1)
    assert "preset='huge': expected one of small-data, balanced, thorough" in result.stderr


def test_a_general_set_goes_up_with_the_data_and_stays_the_adapters(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data, general = data_file(tmp_path, GOOD), tmp_path / "chats.jsonl"
    general.write_text(json.dumps(GOOD))
    words = ["train", data, "-t", "acme", "-a", "tickets", "--no-follow"]
    value = switchyard.json(*words, "--general", general, "--set", "replay=0.5")
    job = home_registry.jobs.get(value["job"])
    assert home_registry.content("acme", job.spec["general"]) == general.read_bytes()
    assert home_registry.adapters.get("acme", "tickets").training == job.spec
    general.write_text('{"messages": []}')
    before = len(home_registry.files.all("acme"))
    result = switchyard(*words, "--general", general, code=1)
    assert f"The general set {general}: line 1: messages: expected" in result.stderr
    assert len(home_registry.files.all("acme")) == before


def test_wrong_options_are_refused_before_the_upload(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD)
    words = ["train", data, "-t", "acme", "-a", "tickets", "--no-follow"]
    result = switchyard(*words, "--rank", 7, "--set", "epoch=2", code=1)
    assert "epoch: no such option" in result.stderr
    assert "rank=7: expected one of 1, 2, 4, 8" in result.stderr
    switchyard(*words, "--set", "patience", code=2)
    switchyard(*words, "--kind", "poem", code=2)
    result = switchyard("train", data, "-t", "nobody", "-a", "x", "--no-follow", code=1)
    assert "tenant 'nobody' does not exist" in result.stderr
    assert home_registry.files.all("acme") == []


def test_an_adapter_keeps_its_base(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    home_registry.adapters.create("acme", "tickets", "switchyard-tiny")
    data = data_file(tmp_path, GOOD)
    words = ["train", data, "-t", "acme", "-a", "tickets", "--no-follow"]
    result = switchyard(*words, "--base", "other/base", code=1)
    assert "belongs to base 'switchyard-tiny', not to 'other/base'" in result.stderr


def test_the_news_of_a_job_are_step_loss_speed_and_time_left():
    from cli.jobs import news

    progress = {"phase": "training", "step": 3, "steps": 9, "loss": 0.5, "eta_s": 4.2}
    assert (
        news({**progress, "tokens_per_s": 812.4}, None)
        == "training, step 3/9, loss 0.500, 812 tokens/s, 4 s left"
    )
    assert news({**progress, "tokens_per_s": None, "step": 0}, None).startswith("training, step 0")


def test_following_tells_the_events_and_ends_with_the_verdict(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD)
    worker = threading.Thread(target=_work, args=(home_registry, None))
    worker.start()
    result = switchyard("train", data, "-t", "acme", "-a", "tickets")
    worker.join()
    assert "Started by worker-1" in result.stdout
    assert "The job has succeeded" in result.stdout
    assert "promote. 97 % beats 12 %" in result.stdout.replace("\n", " ")


def test_a_job_that_fails_is_exit_code_1_with_its_reason(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    data = data_file(tmp_path, GOOD)
    worker = threading.Thread(target=_work, args=(home_registry, "too few rows: 1"))
    worker.start()
    result = switchyard("train", data, "-t", "acme", "-a", "tickets", "--json", code=1)
    worker.join()
    assert "failed (invalid_training_file): too few rows: 1" in result.stderr


def _work(registry: Registry, failure: str | None) -> None:
    """A worker that has done its job as soon as it has one."""
    waiting = threading.Event()
    for _ in range(500):
        job = registry.jobs.lease("worker-1")
        if job is not None:
            break
        waiting.wait(0.02)
    else:
        return
    registry.jobs.renew(job.id, "worker-1", progress={"step": 5, "steps": 10, "loss": 0.5})
    if failure:
        registry.jobs.fail(job.id, "worker-1", "invalid_training_file", failure)
        return
    version = registry.versions.publish(
        job.tenant,
        job.adapter,
        digest_of(job.id),
        manifest={},
        evaluation={"n": 100, "adapter": {"exact": 0.97}},
        verdict="promote",
        reasons={"summary": "97 % beats 12 %"},
        job_id=job.id,
    )
    registry.jobs.succeed(job.id, "worker-1", version.digest)


def test_a_table_becomes_canonical_lines_before_the_upload(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    (tmp_path / "tickets.csv").write_text(
        "prompt;completion;customer_id\nmy invoice is wrong;billing;7\n"
    )
    words = ["-t", "acme", "-a", "tickets", "--no-follow"]
    value = switchyard.json("train", tmp_path / "tickets.csv", *words)
    job = home_registry.jobs.get(value["job"])
    sent = json.loads(home_registry.content("acme", job.training_file))
    assert sent == {**GOOD, "customer_id": "7"}
    assert [file.filename for file in home_registry.files.all("acme")] == ["tickets.jsonl"]


def test_several_files_are_weighed_and_keep_their_names(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    (tmp_path / "b.csv").write_text("prompt,completion\nmy parcel is late,delivery\n")
    data = [data_file(tmp_path, GOOD), tmp_path / "b.csv"]
    words = ["-t", "acme", "-a", "tickets", "--no-follow"]
    value = switchyard.json("train", *data, *words, "--weight", "b.csv=2")
    job = home_registry.jobs.get(value["job"])
    lines = home_registry.content("acme", job.training_file).splitlines()
    assert [(r["source"], r["weight"]) for r in map(json.loads, lines)] == [
        ("tickets.jsonl", 1.0),
        ("b.csv", 2.0),
    ]
    switchyard("train", *data, *words, "--weight", "c.csv=2", code=2)
    switchyard("train", *data, *words, "--weight", "b.csv=-1", code=2)


def test_files_of_several_kinds_are_refused(
    switchyard: Switchyard, home_registry: Registry, tmp_path: Path
) -> None:
    home_registry.tenants.create("acme")
    (tmp_path / "book.txt").write_text("A passage.\n")
    data = [data_file(tmp_path, GOOD), tmp_path / "book.txt"]
    result = switchyard("train", *data, "-t", "acme", "-a", "x", code=2)
    assert "rows of several kinds" in result.stderr
    assert home_registry.files.all("acme") == []


def test_convert_writes_canonical_lines_and_names_bad_rows(
    switchyard: Switchyard, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("instruction,input,output\nSay hello.,,Hello.\nSay more.,,\n")
    out = tmp_path / "out.jsonl"
    result = switchyard("data", "convert", tmp_path / "a.csv", "--output", out, code=1)
    assert "1 chat rows, 1 bad" in result.stdout
    assert "row 2: output: expected a text, found nothing" in result.stdout
    assert json.loads(out.read_text())["messages"][1]["content"] == "Hello."
    result = switchyard("data", "convert", out, "--output", tmp_path / "again.jsonl", "--json")
    assert json.loads(result.stdout)["files"] == [
        {"file": str(out), "rows": 1, "kind": "chat", "errors": []}
    ]
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
    result = switchyard("data", "convert", out, "--output", out, code=2)
    assert "expected another name" in result.stderr
    result = switchyard("data", "convert", tmp_path / "no.csv", "--output", out, code=2)
    assert "No such file" in result.stderr
    assert not list(tmp_path.glob("*.part"))
