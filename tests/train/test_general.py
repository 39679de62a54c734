"""The general set: where its rows are from, and that none is both learned and measured."""

from dataclasses import replace
from itertools import islice

import pytest

from tests.train.making import jsonl, record, task, tickets
from train.combinations import check
from train.cotrain.fitness import obstacle
from train.errors import InvalidSpec
from train.general import General, as_they_stand, made_up, of_file, prompts
from train.reading import read
from train.rows import canonical
from train.spec import TrainingSpec

CHATS = [record(f"What is {word}?", f"It is {word}.") for word in map(chr, range(97, 123))]


def question(messages):
    return next(m["content"] for m in messages if m["role"] == "user")


def test_made_up_rows_are_the_same_each_time_and_no_two_ask_alike():
    general = made_up(64)
    assert general == made_up(64)
    assert made_up(8).measured == general.measured[:8]
    assert len({r.question for r in general.measured}) == len(general.measured) == 64
    assert general.spare == []
    assert made_up(0).measured == []


def test_no_row_is_both_measured_and_replayed():
    general = of_file(jsonl(CHATS), "chats.jsonl")
    assert len(general.measured) + len(general.spare) == 26
    assert min(len(general.measured), len(general.spare)) >= 5
    assert not {r.question for r in general.measured} & {r.question for r in general.spare}
    fewer = of_file(jsonl(CHATS), "chats.jsonl", 3)
    assert len(fewer.measured) == 3
    assert fewer.spare == general.spare  # what is not asked for is not learned either


def test_a_question_stays_on_its_side_whatever_is_added():
    some, every = (of_file(jsonl(CHATS[:n]), "chats.jsonl") for n in (10, 26))
    spare = {r.question for r in every.spare}
    assert {r.question for r in some.spare} <= spare
    again = [record(c["messages"][0]["content"].upper(), "Another answer.") for c in CHATS]
    answered = of_file(jsonl([*CHATS, *again]), "chats.jsonl")
    assert {r.question.lower() for r in answered.spare} == {q.lower() for q in spare}


def test_made_up_prompts_that_measure_are_not_replayed():
    measured = {question(r.prompt) for r in made_up(64).measured}
    replayed = {question(messages) for messages in islice(prompts(2**31), 400)}  # its very seed
    assert not measured & replayed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no rows: expected one"),
        (b'{"messages": []}\n', "line 1: messages: expected a list of messages"),
        (jsonl([CHATS[0], "{"]), "line 2: expected one JSON object"),
        (jsonl([{"text": "abc"}]), "line 1: expected a chat, as `messages`, found a text row"),
        (jsonl(["[]"] * 9), "and 4 more"),
    ],
)
def test_a_file_that_is_none_is_refused_with_file_line_and_what_was_expected(content, said):
    with pytest.raises(InvalidSpec, match=r"The general set chats\.jsonl: ") as refused:
        of_file(content, "chats.jsonl")
    assert said in refused.value.message
    assert refused.value.param == "general"


def test_rows_are_replayed_as_they_stand_and_by_the_seed():
    general = of_file(jsonl(CHATS), "chats.jsonl")
    some = as_they_stand(general, 0.1, 50, seed=3)
    assert [r.line for r in some] == [-1, -2, -3, -4, -5]
    assert all({"messages": canonical(r)["messages"]} in CHATS for r in some)
    assert some == as_they_stand(general, 0.1, 50, seed=3)
    assert some != as_they_stand(general, 0.1, 50, seed=4)
    assert len(as_they_stand(general, 2.0, 50, seed=3)) == len(general.spare)


@pytest.mark.parametrize(
    ("general", "why"),
    [(made_up(4), "there is no general file"), (General("file", []), "it has no rows to spare")],
)
def test_without_rows_to_replay_the_job_is_refused(general, why):
    with pytest.raises(InvalidSpec, match=why) as refused:
        as_they_stand(general, 0.5, 10, seed=0)
    assert refused.value.param == "replay_source"


def test_a_job_learns_a_files_rows_and_its_digest_says_so(tmp_path):
    (tmp_path / "training.jsonl").write_bytes(jsonl(tickets(40)))
    (tmp_path / "general.jsonl").write_bytes(jsonl(CHATS))
    options = {"replay": 0.2, "replay_source": "file"}
    job = task("base", general="general.jsonl", general_rows=4)
    data = read(tmp_path, job, TrainingSpec.parse(options))
    assert len(data.replayed) == round(0.2 * len(data.split.train))
    assert data.general is not None
    assert len(data.general.measured) == 4
    plain = read(tmp_path, job, TrainingSpec())
    assert plain.replayed == []
    assert plain.digest != data.digest
    with pytest.raises(InvalidSpec, match="there is no general file"):
        read(tmp_path, replace(job, general=None), TrainingSpec.parse(options))


def test_replay_from_a_file_is_co_trained_and_from_the_base_is_not():
    assert obstacle(TrainingSpec.parse({"replay": 0.5})) == "replay=0.5"
    assert obstacle(TrainingSpec.parse({"replay": 0.5, "replay_source": "file"})) == ""


def test_a_source_without_a_share_is_refused():
    with pytest.raises(InvalidSpec, match="replays nothing at replay 0"):
        check(TrainingSpec.parse({"replay_source": "file"}))
