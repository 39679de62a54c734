"""Each fault alone: the audit says what it is and where, and nothing else."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.train.audit import clean
from tests.train.audit.clean import jsonl
from tests.train.audit.faults import FAULTS, Fault
from train.audit.audit import Report, audit
from train.audit.codes import CODES
from train.audit.corpus import Corpus, Source
from train.settings import SHIPPED_BASE

EXAMPLES = Path(__file__).parents[3] / "examples"
SPOILT = {"broken-json", "no-messages", "content-not-text", "empty-answer", "no-answer"}
"""What examples/README.md says of the five lines that are wrong on purpose."""


@cache
def tokenizer() -> Any:
    return Tokenizer.from_file(str(SHIPPED_BASE / "tokenizer.json"))


def examined(data: bytes, validation: bytes | None = None, **options: Any) -> tuple[Report, Corpus]:
    held = Source("held", validation) if validation else None
    corpus = Corpus.read([Source("train", data)], held, tokenizer=tokenizer(), **options)
    return audit(corpus), corpus


def of_fault(fault: Fault) -> tuple[Report, Corpus]:
    rows: list[Any] = fault.base()
    fault.change(rows)
    held = jsonl(list(fault.validation())) if fault.validation else None
    return examined(jsonl(rows), held, **fault.options)


def bad(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity != "info"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_where_it_is_and_nothing_else(name: str) -> None:
    fault = FAULTS[name]
    report, _ = of_fault(fault)
    [found] = [finding for finding in report.findings if finding.code == fault.code]
    if fault.lines is not None:
        assert found.places == tuple(("train", line) for line in fault.lines)
    assert bad(report) - {fault.code} == fault.implied


def test_there_is_a_fault_for_every_code() -> None:
    of_a_server = {"base-already-good"}  # no row shows it: test_base.py asks
    assert {fault.code for fault in FAULTS.values()} == set(CODES) - of_a_server


@pytest.mark.parametrize("make", [clean.sentences, clean.labels, clean.objects])
def test_a_clean_set_has_nothing_above_info(make: Any) -> None:
    report, _ = examined(jsonl(make()), schema=clean.SCHEMA)
    assert {finding.code for finding in report.findings} <= {"small-data", "near-duplicate"}
    assert bad(report) == set()


@pytest.mark.parametrize("tenant", ["acme", "lex"])
def test_the_examples_have_the_five_spoilt_lines_and_nothing_else(tenant: str) -> None:
    train, held = (
        (EXAMPLES / tenant / f"{name}.jsonl").read_bytes() for name in ("train", "heldout")
    )
    report, _ = examined(train, held)
    assert bad(report) == SPOILT
    assert all(finding.count == 1 for finding in report.of("error"))


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text() | JSONISH}
)
ROW = JSONISH | st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=4)},
    optional={"label_a": JSONISH, "label_b": JSONISH, "labels": JSONISH, "group": JSONISH},
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=6), st.lists(ROW, max_size=3))
def test_no_rows_make_the_audit_raise(rows: list[Any], held: list[Any]) -> None:
    data, validation = jsonl([json.dumps(r) for r in rows]), jsonl([json.dumps(r) for r in held])
    report, _ = examined(data, validation or None, schema=clean.SCHEMA)
    json.dumps(report.json())
