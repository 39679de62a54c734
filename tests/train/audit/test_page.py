"""What is shown: never a secret, always escaped, and a page that needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from monitoring.personal import luhn, mod_97
from tests.train.audit import clean
from tests.train.audit.clean import jsonl, record
from tests.train.audit.faults import ADDRESS, CARD, EMAIL, FAULTS, IBAN, PHONE, SECRETS
from tests.train.audit.test_faults import examined, of_fault, tokenizer
from train.audit.base import verdict
from train.audit.codes import CODES
from train.audit.corpus import Corpus, Source
from train.audit.page import page

DOCS = Path(__file__).parents[3] / "docs" / "training.md"
VOID = {"meta", "link", "br", "hr", "img", "input"}
HIDDEN = [*SECRETS.values(), CARD, IBAN, EMAIL, PHONE, ADDRESS]


class Nesting(HTMLParser):
    """Raises nothing; `wrong` tells where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["data", "audit", *map(str, words)], env={"COLUMNS": "250"})


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Rows that hold every secret there is, in questions and as labels, and markup beside."""
    rows = clean.labels()
    for index, value in enumerate(HIDDEN):
        rows[index]["messages"][1]["content"] += f" {value}"
        rows[100 + index]["messages"][-1]["content"] = value
    rows[60]["messages"][-1]["content"] = "red \x1b[31m alert"
    rows[50]["messages"][-1]["content"] = "<script>alert(1)</script>"
    rows += rows[:3]
    path = tmp_path / "leaky.jsonl"
    path.write_bytes(jsonl(rows))
    return path


def test_no_output_holds_what_it_warns_of(leaky: Path, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    shown = run(leaky, "--html", html).output + run(leaky, "--json").output + html.read_text()
    assert "secret" in shown and "credit-card" in shown
    assert "\x1b" not in shown
    for value in HIDDEN:
        assert value not in shown
        assert json.dumps(value)[1:-1] not in shown


def test_the_page_is_whole_escaped_and_asks_for_nothing(leaky: Path, tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    assert run(leaky, "--html", html).exit_code == 1
    text = html.read_text()
    parser = Nesting()
    parser.feed(text)
    assert parser.wrong == [] and parser.open == []
    assert parser.seen.count("svg") == 3  # lengths, classes, duplicates
    assert not {"script", "link", "img", "iframe"} & set(parser.seen)
    assert not re.search(r"(?:src|href)=\"(?!#)", text)
    assert "@import" not in text and "url(http" not in text


def test_the_page_shows_rows_under_their_severity() -> None:
    report, corpus = of_fault(FAULTS["copied"])
    text = page(report, corpus, "a <b> & c")
    assert "a &lt;b&gt; &amp; c" in text
    assert "1 row: train: 5" in text
    assert text.index("Warning (1)") < text.index("answer-copied")


def test_the_page_says_first_whether_to_fine_tune_at_all() -> None:
    report, corpus = of_fault(FAULTS["copied"])
    answer, because = verdict(report)
    text = page(report, corpus, "rows")
    assert f"Fine-tune? {answer.capitalize()}" in text and because in text
    assert text.index("Fine-tune?") < text.index("<article")


def test_codes_in_the_documentation_are_the_audits() -> None:
    section = DOCS.read_text("utf-8").split("## The audit")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", section, re.M))
    assert listed == {code: kind.severity for code, kind in CODES.items()}


def test_exit_codes_say_severe_or_not_or_unusable(tmp_path: Path) -> None:
    good, bad, empty = (tmp_path / f"{name}.jsonl" for name in ("good", "bad", "empty"))
    good.write_bytes(jsonl(clean.sentences()))
    bad.write_bytes(jsonl([*clean.sentences(), "{"]))
    empty.write_bytes(b"\n \n")
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": 7}')
    assert run(good).exit_code == 0
    assert run(bad).exit_code == 1
    assert run(empty).exit_code == 2
    assert run(tmp_path / "none.jsonl").exit_code == 2
    assert run(good, "--schema", schema).exit_code == 2
    assert run(good, "--validation", tmp_path / "none.jsonl").exit_code == 2
    assert run(good, "--base", tmp_path).exit_code == 2
    assert run().exit_code == 2


def test_json_has_code_severity_rows_figures_and_advice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl([*clean.sentences(), *["{"] * 30]))
    value = json.loads(run(path, "--json").stdout)
    [found] = [f for f in value["findings"] if f["code"] == "broken-json"]
    assert found["severity"] == "error" and found["count"] == 30
    assert found["rows"][0] == {"file": str(path), "line": 321}
    assert len(found["rows"]) == 20
    assert found["advice"] == CODES["broken-json"].advice


def test_tokens_are_counted_as_training_counts_them() -> None:
    row = record("Where is my parcel?", "On its way.", system="Be kind.")
    corpus = Corpus.read([Source("a", jsonl([row]))], tokenizer=tokenizer())
    whole = "<|begin|><|system|>Be kind.<|end|><|user|>Where is my parcel?<|end|><|assistant|>"
    [length] = corpus.lengths
    assert length.first_answer == len(tokenizer().encode(whole).ids)
    assert length.total == len(tokenizer().encode(whole + "On its way.<|end|>").ids)


def test_check_digits() -> None:
    assert luhn("4111111111111111") and not luhn("4111111111111112")
    assert mod_97("GB82WEST12345698765432") and not mod_97("GB82WEST12345698765433")


@pytest.mark.parametrize(
    "text",
    [
        "My order 4111 1111 1111 1112 of 2024-05-06",
        "Firmware version 10.4.2.1",
        "Reset your password: choose a new one",
        "It costs 1200.50 and weighs 300-400 g, item 20240506123",
        "DE89 3704 0044 0532 0130 01 is no account",
    ],
)
def test_what_only_looks_like_it_is_not_told(text: str) -> None:
    report, _ = examined(jsonl([record(text, "Yes.")]))
    personal = {"secret", "credit-card", "iban", "email-address", "phone-number", "ip-address"}
    personal.add("social-security-number")
    assert not personal & {finding.code for finding in report.findings}
