"""The certificate: does the engine, with this adapter, compute what the trainer computed?

Pure: numbers in, verdict out. Two questions, on held-out prompts with their reference answers, by
the teacher-forced natural-log probability of each answer token:

- parity: the engine with the adapter against PEFT's float32 figures (probes.json). Must agree.
- effect: the engine with the adapter against the engine without. Must differ: vLLM loads an
  adapter whose module names don't match, says nothing, and serves the base.

Why these bounds. Measured with a random 4-layer Llama and a random adapter on vLLM 0.32 CPU, nats a
token: parity mean 0.000004 and largest 0.00002 at float32, where engine and trainer compute the
same; 0.08 at bfloat16, where the engine rounds and PEFT did not; effect 2.1. An adapter that is
ignored, or another one, is off by as much as the effect. Rounding grows with the logits, and so
does the effect: hence 0.05, or 5 % of the effect where that is more. Single tokens that the model
finds all but impossible move more under rounding: hence a wider bound on the largest. An effect
under 0.02 a token can't be told from rounding and would change no answer. And parity must be at
most half the effect: an engine that is as near to the base as to the adapter has proved nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


class ProbesInvalid(Exception):
    """probes.json can't be used: what is wrong, and where."""


@dataclass(frozen=True)
class Probe:
    """One held-out conversation. Logprobs are PEFT's, one for each token after the prompt."""

    messages: list[dict[str, Any]]
    token_ids: list[int]
    prompt_length: int
    logprobs: list[float]
    base_logprobs: list[float]

    @property
    def question(self) -> list[dict[str, Any]]:
        """The messages without the reference answer."""
        answered = bool(self.messages) and self.messages[-1].get("role") == "assistant"
        return self.messages[:-1] if answered else self.messages

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's tokens, generation prompt included."""
        return self.token_ids[: self.prompt_length]


@dataclass(frozen=True)
class Measured:
    """What an engine says about one probe."""

    adapter: list[float]
    base: list[float]
    prompt_ids: list[int]


@dataclass(frozen=True)
class Tolerance:
    """The bounds, in nats per token; see the module's text for why."""

    parity_mean: float = 0.05
    parity_share: float = 0.05
    """Of the effect; the larger of the two bounds counts."""
    parity_max: float = 1.0
    effect_mean: float = 0.02
    min_probes: int = 16


@dataclass(frozen=True)
class Certificate:
    """The figures of one engine and what they say. `reason` is empty when it passed."""

    passed: bool
    reason: str
    probes: int
    tokens: int
    parity_mean: float
    parity_max: float
    effect_mean: float
    base_parity_mean: float
    expected_effect_mean: float
    """PEFT's own: adapter against base."""

    def figures(self) -> dict[str, Any]:
        """As JSON, rounded to what is worth reading."""
        return {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def read_probes(raw: bytes) -> list[Probe]:
    """Parse probes.json. Raises ProbesInvalid."""
    try:
        rows = json.loads(raw)["probes"]
    except (ValueError, KeyError, TypeError):
        raise ProbesInvalid('probes.json: expected {"probes": [...]}') from None
    if not isinstance(rows, list):
        raise ProbesInvalid("probes.json: probes is not a list")
    return [_probe(number, row) for number, row in enumerate(rows)]


def certify(
    probes: Sequence[Probe], measured: Sequence[Measured], tolerance: Tolerance
) -> Certificate:
    """Compare. Never raises for bad figures: they make a certificate that did not pass."""
    parity, effect, base_parity, expected = _Mean(), _Mean(), _Mean(), _Mean()
    templates = 0
    for probe, seen in zip(probes, measured, strict=True):
        parity.add(seen.adapter, probe.logprobs)
        effect.add(seen.adapter, seen.base)
        base_parity.add(seen.base, probe.base_logprobs)
        expected.add(probe.logprobs, probe.base_logprobs)
        templates += seen.prompt_ids != probe.prompt_ids
    reason = _reason(
        len(probes), templates, parity, effect.mean, base_parity.mean, expected.mean, tolerance
    )
    return Certificate(
        passed=not reason,
        reason=reason,
        probes=len(probes),
        tokens=parity.count,
        parity_mean=parity.mean,
        parity_max=parity.largest,
        effect_mean=effect.mean,
        base_parity_mean=base_parity.mean,
        expected_effect_mean=expected.mean,
    )


def _reason(
    probes: int,
    templates: int,
    parity: _Mean,
    effect: float,
    base_parity: float,
    expected: float,
    bound: Tolerance,
) -> str:
    if probes < bound.min_probes:
        return f"{probes} probes: expected at least {bound.min_probes}"
    if templates:
        return (
            f"the engine tokenises {templates} of {probes} prompts otherwise than the trainer: "
            "chat template or tokenizer differ"
        )
    if not all(map(math.isfinite, (parity.mean, effect, base_parity, expected))):
        return "a log-probability is not a finite number: weights or adapter hold NaN or infinity"
    if expected < bound.effect_mean:
        return (
            f"the adapter does nothing: by the trainer's own figures it moves a token by "
            f"{expected:.4f} nats, expected at least {bound.effect_mean:g}"
        )
    if effect < bound.effect_mean:
        return (
            f"the engine ignores the adapter: mean |Δlogprob| against its base is {effect:.4f}, "
            f"the trainer's is {expected:.4f}; do its module names match the base's?"
        )
    allowed = min(max(bound.parity_mean, bound.parity_share * effect), effect / 2)
    if base_parity > max(bound.parity_mean, bound.parity_share * effect):
        return (
            f"the engine's base is not the trainer's: without the adapter they differ by "
            f"{base_parity:.4f} nats a token; the adapter moves it by {effect:.4f}"
        )
    if parity.mean > allowed:
        return (
            f"engine and trainer disagree with the adapter: mean |Δlogprob| {parity.mean:.4f}, "
            f"expected at most {allowed:.4g}"
        )
    if parity.largest > bound.parity_max:
        return (
            f"engine and trainer disagree on a token by {parity.largest:.3f} nats, expected at "
            f"most {bound.parity_max:g}"
        )
    return ""


class _Mean:
    """Mean and largest absolute difference of paired numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, left: Sequence[float], right: Sequence[float]) -> None:
        for a, b in zip(left, right, strict=True):
            difference = abs(a - b)
            self.count += 1
            self.total += difference
            if not difference <= self.largest:  # NaN too
                self.largest = difference

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


def _probe(number: int, row: Any) -> Probe:
    where = f"probes.json, probe {number}"
    try:
        probe = Probe(
            messages=[dict(m) for m in row["messages"]],
            token_ids=[int(t) for t in row["token_ids"]],
            prompt_length=int(row["prompt_length"]),
            logprobs=[float(v) for v in row["logprobs"]],
            base_logprobs=[float(v) for v in row["base_logprobs"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProbesInvalid(f"{where}: missing or wrong: {error}") from None
    answer = len(probe.token_ids) - probe.prompt_length
    if probe.prompt_length < 1 or answer < 1:
        raise ProbesInvalid(f"{where}: prompt_length {probe.prompt_length} leaves no answer")
    if not answer == len(probe.logprobs) == len(probe.base_logprobs):
        raise ProbesInvalid(f"{where}: expected {answer} logprobs and base_logprobs")
    return probe
