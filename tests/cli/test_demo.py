"""The demo's own judgement: what counts as a failure, a late version, a stall, a held-out question.

The story itself runs on the real platform in tests/end_to_end.
"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo import cast, exam, outage, stage, swap
from cli.demo.cast import ACME, LEX
from cli.demo.client import Reply
from cli.demo.crowd import longest_gap, slowest
from cli.demo.exam import Paper
from cli.demo.story import Story
from cli.errors import CliError, StepFailed
from cli.home import Home
from registry import Registry
from tests.registry.making import make_adapter, make_version


def reply(began: float, version: str = "tickets@old", **fields: object) -> Reply:
    plain = Reply("acme", began, began + 0.1, 0.1, 200, version=version)
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def quiet() -> Story:
    return Story(console=Console(file=io.StringIO()))


def test_a_step_that_raises_ends_the_story_by_its_name() -> None:
    story = quiet()
    with pytest.raises(StepFailed, match="step 'train' failed: ZeroDivisionError"):
        story.step("train", "Train", lambda: 1 // 0)
    assert "train" in story.durations


def test_a_check_that_fails_is_kept_and_the_story_goes_on() -> None:
    story = quiet()
    story.step("accuracy", "Questions", lambda: story.check("at least 90 %", False, "71 %"))
    story.step("outage", "Kill", lambda: story.check("no hang", True, "0.2 s"))
    assert [check.promise for check in story.failed] == ["at least 90 %"]
    figures = story.json()
    assert figures["passed"] is False
    assert figures["checks"][0]["step"] == "accuracy"
    assert set(figures["seconds"]) == {"accuracy", "outage"}


def test_an_answer_must_name_a_version_that_was_live_while_it_was_asked_for(
    sqlite_registry: Registry,
) -> None:
    make_adapter(sqlite_registry)
    old, new = (make_version(sqlite_registry, seed) for seed in (1, 2))
    old.state, old.state_at, old.certificate = "retired", 20.0, {"at": 1.0}
    new.state, new.state_at, new.certificate = "live", 10.0, {"at": 9.9}
    versions = [old, new]

    def late(*replies: Reply) -> int:
        return len(swap.not_live(replies, versions))

    assert late(reply(5.0, old.served_name), reply(11.0, new.served_name)) == 0
    assert late(reply(15.0, old.served_name)) == 0, "live until it is retired"
    assert late(reply(5.0, new.served_name)) == 1, "not live yet"
    assert late(reply(9.8, new.served_name, ended=10.0)) == 0, "live before it was answered"
    assert late(reply(21.0, old.served_name)) == 1, "retired"
    assert late(reply(11.0, "base")) == 1
    assert late(reply(21.0, old.served_name, status=503)) == 0, "a failure is counted elsewhere"
    assert late(reply(5.0, "base", tenant="lex")) == 0, "only acme's version changes"


def test_the_longest_stall_is_the_longest_time_without_any_answer() -> None:
    replies = [reply(0.0), reply(0.5), reply(2.0), reply(1.0, status=503), reply(2.1)]
    assert longest_gap(replies) == pytest.approx(1.5)
    assert longest_gap([]) == 0.0
    assert slowest([*replies, reply(3.0, seconds=0.7)]) == 0.7


def test_an_outage_is_passed_only_with_polite_errors_and_a_way_back() -> None:
    polite = reply(1.0, status=503, error_shaped=True, retry_after=1.0)
    back = reply(9.0, "tickets@new")
    story = quiet()
    outage.report(story, [polite, back], killed_at=0.5)
    assert not story.failed
    assert story.figures["outage"]["first_by_adapter_s"] == pytest.approx(8.6)
    for rude in (
        dataclasses.replace(polite, error_shaped=False),
        dataclasses.replace(polite, retry_after=None),
        dataclasses.replace(polite, status=502),
        dataclasses.replace(polite, status=0, error_shaped=False),
        dataclasses.replace(polite, seconds=30.0),
    ):
        story = quiet()
        outage.report(story, [polite, rude, back], killed_at=0.5)
        assert len(story.failed) == 1, rude


def test_questions_are_taken_evenly_and_without_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "heldout.jsonl"
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Route."},
                {"role": "user", "content": f"ticket {n}"},
                {"role": "assistant", "content": f"label-{n}"},
            ]
        }
        for n in range(10)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\nnot json\n")
    paper = Paper.of(ACME, path, 5)
    assert paper.references == ("label-0", "label-2", "label-4", "label-6", "label-8")
    assert all(question[-1]["role"] == "user" for question in paper.questions)
    assert len(Paper.of(ACME, path, 99).questions) == 10
    shot = exam.shots(path, 3)
    with_shots = paper.with_shots(shot).questions[0]
    roles = [message["role"] for message in with_shots]
    assert roles == ["system", *["user", "assistant"] * 3, "user"]


def test_shots_show_as_many_different_answers_as_there_are(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": f"t{n}"}, {"role": "assistant", "content": a}]}
        for n, a in enumerate(["billing"] * 20 + ["app"] + ["stock"])
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    answers = {shot[-1]["content"] for shot in exam.shots(path, 3)}
    assert answers == {"billing", "app", "stock"}


def test_the_cast_is_made_once_and_its_keys_are_kept_for_this_user(
    home: Home, home_registry: Registry, tmp_path: Path
) -> None:
    keys = cast.ensure(home, home_registry, tmp_path)
    assert set(keys) == {"acme", "lex", "solo"}
    assert cast.ensure(home, home_registry, tmp_path) == keys
    assert (home.folder / "demo-keys.json").stat().st_mode & 0o777 == 0o600
    home_registry.tenants.delete("acme")
    again = cast.ensure(home, home_registry, tmp_path)
    assert again["acme"] != keys["acme"], "the old key opens nothing any more"
    assert again["lex"] == keys["lex"]


def test_the_repository_s_examples_are_what_the_demo_expects() -> None:
    folder = cast.examples_folder()
    for member in (ACME, LEX):
        schema = folder / member.name / "schema.json"
        paper = Paper.of(
            member, folder / member.name / "heldout.jsonl", 20, schema if schema.exists() else None
        )
        assert len(paper.questions) == 20
    for name in ("shifted_heldout", "shifted_prompts", "corrections"):
        assert len(cast.rows(folder / "acme" / f"{name}.jsonl")) >= 100
    assert cast.rows(folder / "solo" / "prompts.jsonl")


def test_examples_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="needs the repository's examples/"):
        cast.rows(tmp_path / "nothing.jsonl")


def test_only_what_a_demo_made_is_wiped(tmp_path: Path) -> None:
    outer = Home(tmp_path, {"SWITCHYARD_REGISTRY_DATABASE_URL": "postgresql://them", "A": "b"})
    home = stage.home_of(outer)
    assert home.environ == {"A": "b"}, "the demo keeps away from anybody's own registry"
    home.folder.mkdir()
    precious = home.folder / "precious.txt"
    precious.touch()
    with pytest.raises(CliError, match="holds files that no demo made"):
        stage.wipe(home)
    precious.unlink()
    home.run.mkdir()
    stage.wipe(home)
    (home.folder / "registry.db").touch()
    (home.folder / "store").mkdir()
    stage.wipe(home)
    assert sorted(path.name for path in home.folder.iterdir()) == [stage.MARK, "run"]
