import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.certificate import (
    Certificate,
    Measured,
    Probe,
    ProbesInvalid,
    Tolerance,
    certify,
    read_probes,
)
from tests.serve.making import probe

PROBE = Probe(
    messages=[{"role": "user", "content": "where is my parcel"}],
    token_ids=[5, 6, 7, 8, 9],
    prompt_length=3,
    logprobs=[-0.1, -0.2],
    base_logprobs=[-3.0, -4.0],
)
AGREES = Measured(adapter=[-0.1, -0.2], base=[-3.0, -4.0], prompt_ids=[5, 6, 7])


def judge(probe: Probe = PROBE, seen: Measured = AGREES, count: int = 16) -> Certificate:
    return certify([probe] * count, [seen] * count, Tolerance())


def test_passes_when_engine_and_trainer_agree_and_the_base_differs() -> None:
    certificate = judge()

    assert certificate.passed
    assert certificate.reason == ""
    assert (certificate.probes, certificate.tokens) == (16, 32)
    assert certificate.parity_mean == 0
    assert certificate.effect_mean == pytest.approx(3.35)


def test_rounding_as_of_bfloat16_passes() -> None:
    assert judge(seen=replace(AGREES, adapter=[-0.11, -0.23])).passed


def test_rounding_may_grow_with_the_effect_but_not_beyond_its_twentieth() -> None:
    assert judge(seen=replace(AGREES, adapter=[-0.2, -0.3])).passed
    assert not judge(seen=replace(AGREES, adapter=[-0.3, -0.4])).passed


def test_an_adapter_that_the_engine_ignores_is_named_so() -> None:
    certificate = judge(seen=replace(AGREES, adapter=AGREES.base))

    assert not certificate.passed
    assert "ignores the adapter" in certificate.reason
    assert "module names" in certificate.reason


def test_an_adapter_that_was_never_trained_is_told_from_one_that_is_ignored() -> None:
    untrained = replace(PROBE, logprobs=PROBE.base_logprobs)

    certificate = judge(untrained, replace(AGREES, adapter=AGREES.base))

    assert "does nothing" in certificate.reason


def test_other_weights_of_the_same_architecture_are_found() -> None:
    certificate = judge(seen=replace(AGREES, base=[-5.0, -1.0]))

    assert "base is not the trainer's" in certificate.reason


def test_figures_of_another_adapter_are_found() -> None:
    certificate = judge(seen=replace(AGREES, adapter=[-1.0, -1.5]))

    assert "disagree with the adapter" in certificate.reason


def test_one_token_far_off_is_found_though_the_mean_is_small() -> None:
    probes = [PROBE] * 64
    seen = [AGREES] * 63 + [replace(AGREES, adapter=[-0.1, -2.2])]

    certificate = certify(probes, seen, Tolerance())

    assert certificate.parity_mean < 0.05
    assert "on a token by 2.000" in certificate.reason


def test_an_engine_half_way_between_base_and_adapter_has_proved_nothing() -> None:
    weak = replace(PROBE, logprobs=[-2.96, -3.96])
    half_way = replace(AGREES, adapter=[-2.978, -3.978])

    certificate = judge(weak, half_way)

    assert certificate.parity_mean < Tolerance().parity_mean
    assert not certificate.passed


def test_another_chat_template_is_named_so() -> None:
    assert "chat template" in judge(seen=replace(AGREES, prompt_ids=[5, 6])).reason


def test_too_few_probes_prove_nothing() -> None:
    assert judge(count=15).reason == "15 probes: expected at least 16"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_never_pass(value: float) -> None:
    certificate = judge(seen=replace(AGREES, adapter=[value, -0.2]))

    assert "not a finite number" in certificate.reason


@given(st.floats(min_value=0.2, max_value=50))
def test_no_constant_error_above_the_tolerance_passes(error: float) -> None:
    shifted = [value - error for value in PROBE.logprobs]

    assert not judge(seen=replace(AGREES, adapter=shifted)).passed


def test_the_question_is_the_conversation_without_the_reference_answer() -> None:
    question = [{"role": "user", "content": "q"}]
    answered = replace(PROBE, messages=[*question, {"role": "assistant", "content": "a"}])

    assert answered.question == question
    assert replace(PROBE, messages=question).question == question


def test_reads_probes_as_the_trainer_writes_them() -> None:
    (read,) = read_probes(json.dumps({"probes": [probe(3)], "dtype": "float32"}).encode())

    assert read.prompt_ids == list(b"ticket 3")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "expected"),
        (b"[]", "expected"),
        (b'{"probes": {}}', "not a list"),
        (b'{"probes": [{}]}', "probe 0: missing or wrong: 'messages'"),
        (json.dumps({"probes": [probe(0), probe(1, logprobs=[-1.0])]}).encode(), "probe 1: exp"),
        (json.dumps({"probes": [probe(0, prompt_length=99)]}).encode(), "leaves no answer"),
    ],
)
def test_says_what_is_wrong_with_probes_and_where(raw: bytes, message: str) -> None:
    with pytest.raises(ProbesInvalid, match=message):
        read_probes(raw)
