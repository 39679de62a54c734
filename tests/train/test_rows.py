"""JSONL to rows: each fault is told with its line, its field and what was expected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.making import jsonl, record
from train.errors import InvalidTrainingFile
from train.rows import digest, parse, read

GOOD = record("Where is my parcel?", "delivery")


def message(role, content):
    return {"role": role, "content": content}


def test_rows_keep_their_line_numbers_messages_and_other_fields():
    rows, errors = parse(jsonl([GOOD, "", {**GOOD, "customer_id": 7}]))
    assert errors == []
    assert [row.line for row in rows] == [1, 3]
    assert rows[1].metadata == {"customer_id": 7}
    assert rows[0].question == "Where is my parcel?"
    assert rows[0].prompt == [message("user", "Where is my parcel?")]
    assert rows[0].answer == "delivery"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"messages": [', "expected one JSON object, found broken JSON at column 15"),
        ("[1, 2]", "expected a JSON object, found a list"),
        ("{}", "messages: expected a list of messages, found nothing"),
        ('{"messages": []}', "messages: expected a list of messages, found an empty list"),
        ('{"messages": "hi"}', "messages: expected a list of messages, found a text"),
        ('{"messages": [3]}', "messages[0]: expected an object with role and content"),
        (
            {"messages": [message("bot", "x")]},
            "messages[0].role: expected system, user or assistant, found 'bot'",
        ),
        (
            {"messages": [message("user", 5)]},
            "messages[0].content: expected a text, found a number",
        ),
        (
            {"messages": [message("user", "hi"), message("assistant", "  ")]},
            "messages[1].content: expected a text that is not empty",
        ),
        (
            {"messages": [message("user", "hi")]},
            "messages[0].role: expected assistant (the answer to learn), found 'user'",
        ),
        (
            {"messages": [message("assistant", "hi")]},
            "messages: expected at least one user message, found none",
        ),
        (
            {"messages": [message("user", "a"), message("system", "b"), message("assistant", "c")]},
            "messages[1].role: expected a system message only at the start",
        ),
        ('{"messages": "\\ud800"}', "messages: expected a list of messages, found a text"),
    ],
)
def test_a_faulty_line_is_told_with_field_and_expectation(line, complaint):
    rows, errors = parse(jsonl([GOOD, line, GOOD]))
    assert [row.line for row in rows] == [1, 3]
    assert str(errors[0]).startswith("line 2: ")
    assert complaint in str(errors[0])


def test_half_a_surrogate_pair_is_refused_before_a_tokenizer_sees_it():
    _, errors = parse(b'{"messages": [{"role": "user", "content": "\\ud800"}]}')
    assert "half a surrogate pair" in str(errors[0])


def test_bytes_that_are_not_utf8_are_told():
    _, errors = parse(b'{"messages": "\xff"}')
    assert "expected UTF-8 text, found byte 0xff" in str(errors[0])


def test_windows_line_ends_and_a_byte_order_mark_are_no_faults():
    text = b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n" + json.dumps(GOOD).encode()
    rows, errors = parse(text + b"\r\n")
    assert len(rows) == 2
    assert errors == []


def test_one_bad_row_stops_the_job_unless_good_rows_are_to_be_kept():
    data = jsonl([GOOD, "{}", GOOD])
    with pytest.raises(InvalidTrainingFile) as caught:
        read(data)
    assert "1 of 3 rows are not valid: line 2: messages" in caught.value.message
    assert "keep_good_rows" in caught.value.message
    assert len(read(data, keep_good_rows=True)) == 2


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{}\n{}"])
def test_a_file_without_a_good_row_is_refused_in_any_case(data):
    with pytest.raises(InvalidTrainingFile):
        read(data, keep_good_rows=True)


def test_many_faults_are_counted_and_the_first_are_shown():
    with pytest.raises(InvalidTrainingFile) as caught:
        read(jsonl(["{}"] * 50))
    assert "50 of 50 rows" in caught.value.message
    assert "line 20:" in caught.value.message
    assert "line 21:" not in caught.value.message
    assert "and 30 more" in caught.value.message


def test_the_digest_is_of_what_the_rows_say_and_of_nothing_else():
    plain = read(jsonl([GOOD]))
    moved = read(b"\n" + jsonl([{**GOOD, "id": 9}]))
    other = read(jsonl([record("Where is my parcel?", "billing")]))
    assert digest(plain) == digest(moved) != digest(other)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data):
    rows, errors = parse(data)
    assert len(rows) + len(errors) <= data.count(b"\n") + 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["messages", "role", "content"]), inner, max_size=3)
        ),
    )
)
def test_every_json_value_is_a_row_or_an_error(value):
    rows, errors = parse(json.dumps(value).encode())
    assert len(rows) + len(errors) == 1
