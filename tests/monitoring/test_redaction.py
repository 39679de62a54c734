"""What opens something, and data about people, goes out of texts before they are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring import personal, secrets
from monitoring.redaction import redacted, redacted_json

CARD, IBAN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"
FOUND = {
    "write to jo.doe+x@mail.example.org, please": "write to [email-address], please",
    f"card {CARD}, iban {IBAN}.": "card [credit-card], iban [iban].",
    "call +49 30 1234567 or 10.1.2.3": "call [phone-number] or [ip-address]",
    "key sk-sy-0123456789abcdef0123 here": "key [API key] here",
    "password: hunter2!x and AKIAABCDEFGHIJKLMNOP": "[password] and [AWS key]",
    "postgres://switchyard:s3cret@db/x": "postgres://[URL password]@db/x",
    "ssn 536-22-8714.": "ssn [social-security-number].",
    "from [2001:db8:0:1::8a2e]:443, fe80::1": "from [[ip-address]]:443, [ip-address]",
    "2001:db8:0:0:0:0:10.1.2.3 or 1:2:3:4:5:6:7:8": "[ip-address] or [ip-address]",
    "hf_AbCdEfGhIjKlMnOpQrStUvWx, glpat-x1y2z3x1y2z3x1y2z3x1": (
        "[Hugging Face token], [GitLab token]"
    ),
    "Authorization: Bearer 9f2c4e6a8b0d1f3e5a7c": "Authorization: [bearer token]",
    "Authorization: bearer ab+/cd~ef.gh-0123456789==": "Authorization: [bearer token]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----": "[private key]",
}


@pytest.mark.parametrize("text", FOUND)
def test_what_is_found_is_replaced_by_its_kind(text: str) -> None:
    assert redacted(text) == FOUND[text]
    assert redacted(FOUND[text]) == FOUND[text], "there is nothing more to find in it"


@pytest.mark.parametrize(
    "text",
    [
        "Order 4111 1111 1111 1112 left on 2026-11-02.",
        "release 10.1.2.3",
        "See @ 5 pm.",
        "",
        "std::vector, x[1::2], 12:30:45, 00:1a:2b:3c:4d:5e, C::D, a :: b",
        "part 000-12-3456, 987-65-4321, 123-45-67890",
        "The bearer acknowledgements-and-consents of a shf_model, glpat-",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redacted(text) == text


def test_every_string_of_a_conversation_is_redacted_and_nothing_else_changes() -> None:
    said = [
        {"role": "user", "content": "I am jo@example.org", "n": 7, "x": None},
        {"role": "user", "content": [{"type": "text", "text": f"pay {IBAN}"}, {"deep": [[CARD]]}]},
        {"image_url": {"url": "data:image/png;base64,4111111111111111"}},
    ]
    kept: Any = redacted_json(said)
    text = json.dumps(kept)
    assert "example.org" not in text and IBAN not in text and CARD not in text
    assert kept[0] == {"role": "user", "content": "I am [email-address]", "n": 7, "x": None}
    assert kept[1]["content"][0]["text"] == "pay [iban]"
    assert kept[2] == said[2]


def test_a_text_that_begins_as_a_data_url_is_no_data_url() -> None:
    said = f"data: write to bob@example.org, card {CARD}"
    assert redacted_json(said) == "data: write to [email-address], card [credit-card]"
    for sneaked in (f"data:text/plain,{CARD}", f"data:image/png;base64,AAAA {CARD}"):
        assert CARD not in redacted_json(sneaked)


def test_every_kind_of_secret_says_what_a_text_must_have_to_hold_one() -> None:
    assert secrets._HINTS.keys() == secrets.PATTERNS.keys()
    examples = {
        "private key": "-----BEGIN PRIVATE KEY-----",
        "AWS key": "ASIAABCDEFGHIJKLMNOP",
        "API key": "rk_0123456789abcdef0",
        "GitHub token": "ghp_" + "a" * 24,
        "GitLab token": "glpat-" + "a" * 20,
        "Hugging Face token": "hf_" + "a" * 34,
        "bearer token": "bearer 0123456789abcdef",
        "Slack token": "xoxb-0123456789",
        "Google key": "AIza" + "a" * 35,
        "JWT": "eyJhbGciOiJI.eyJzdWIi.abc",
        "URL password": "://me:hush@",
        "password": "Api_Key = 'abc_123'",
    }
    for kind, example in examples.items():
        assert kind in [found for found, _ in secrets.found_in(example)], kind


@pytest.mark.parametrize(
    "piece",
    [
        *("-eyJaaaaaaaa", "password=", "jo@example.org ", "10.1.2.3 ", "a@a.", "-----BEGIN "),
        *("bearer ", "bearer aaaaaaaaaaaaaaaa", "a1:", "::", "123-45-", "hf_a", "data:a/"),
    ],
)
def test_no_text_takes_more_than_its_length_to_redact(piece: str) -> None:
    """Each of these, repeated, took quadratic time: minutes for a text of the largest size."""
    text = piece * (256 * 1024 // len(piece))
    assert isinstance(redacted(text), str)


@settings(max_examples=40)
@given(st.lists(st.sampled_from([*FOUND, " ", "word", "7"]), max_size=6).map(" ".join))
def test_pieces_that_are_found_never_overlap(text: str) -> None:
    at = 0
    for _, start, end in personal._spans(text):
        assert at <= start < end
        at = end
