"""What a job may ask for. One dial, `rank`; alpha and learning rate follow from it and the base.

Knows nothing about rows, models or the registry.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from train.errors import InvalidSpec

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SMALL = 500
"""Fewer rows to learn from are a small data set."""
QUANTIZE = ("none", "nf4")
OBJECTIVES = ("sft", "dpo", "kto", "pretrain")
AUDITS = ("warn", "stop", "off")
REPLAY_SOURCES = ("base", "file")
METHODS = ("lora", "rslora", "dora", "full")
PRESETS: dict[str, dict[str, Any]] = {
    "small-data": {"rank": 4, "dropout": 0.1, "patience": 2, "epochs": 10.0},
    "balanced": {},
    "thorough": {"rank": 32, "patience": 3, "epochs": 8.0, "search": 8},
}
"""What a preset means for options that the job does not name. "small-data" is for under 500
examples: little room to learn by heart, and many passes that end with the validation loss."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "quantize": QUANTIZE,
    "audit": AUDITS,
    "objective": OBJECTIVES,
    "method": METHODS,
    "preset": tuple(PRESETS),
    "replay_source": REPLAY_SOURCES,
}
_INTEGERS: dict[str, tuple[int, int]] = {
    "batch_size": (1, 1024),
    "gradient_accumulation": (1, 1024),
    "search": (0, 1000),
    "max_length": (16, 131_072),
    "seed": (0, 2**31 - 1),
    "patience": (1, 1000),
    "checkpoints": (0, 100),
}
_NUMBERS: dict[str, tuple[float, float]] = {
    "alpha": (0.001, 4096.0),
    "learning_rate": (1e-8, 1.0),
    "learning_rate_multiplier": (0.001, 1000.0),
    "epochs": (0.01, 1000.0),
    "dropout": (0.0, 0.9),
    "warmup": (0.0, 0.5),
    "validation_fraction": (0.01, 0.5),
    "test_fraction": (0.0, 0.5),
    "beta": (1e-4, 100.0),
    "replay": (0.0, 10.0),
}


@dataclass(frozen=True)
class TrainingSpec:
    """The options of one training job. Build it with `parse`, which checks every value.

    `alpha` None means 2 × rank, so that an update's scale does not depend on the rank. `epochs` and
    `learning_rate` None mean what `epochs_for` and `learning_rate_for` say. Lengths are in tokens,
    `warmup` is a share of the steps, `patience` counts epochs without a better validation loss.
    `dropout` is QLoRA's for small models (arXiv 2305.14314): on the example tickets it took
    held-out accuracy from 0.92 to 0.95.

    `objective` says what is learned: answers ("sft"), preferences ("dpo", "kto") or plain text
    ("pretrain"). `method` says how the weights move: what the engine can't serve ("dora", "full")
    is compiled into a plain LoRA of `rank` afterwards. `gradient_accumulation` batches of
    `batch_size` make one step. `beta` holds a preference's adapter to the base. `replay` mixes in
    so many general rows for each of the tenant's own, against forgetting: made-up prompts that the
    base answers, or, by `replay_source` "file", rows of the general file as they stand. `general`
    is the id of an uploaded general file, in place of the worker's. `search` is the number of
    trials for better options, 0 for none. `checkpoints` is the number of last epochs whose adapters
    can be served too, each by its own name.
    `gain_on` is the slice of the held-out rows on which `parent` must be beaten; on all others it
    may not lose.
    `audit` says what an error among the audit's findings does: "warn" tells it, "stop" ends the
    job, "off" looks for none.
    """

    objective: str = "sft"
    method: str = "lora"
    preset: str = "balanced"
    rank: int = 16
    alpha: float | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float = 1.0
    epochs: float | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int = 1024
    dropout: float = 0.1
    warmup: float = 0.03
    patience: int = 2
    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    group_by: str | None = None
    quantize: str = "none"
    beta: float = 0.1
    packing: bool = False
    replay: float = 0.0
    replay_source: str = "base"
    general: str | None = None
    search: int = 0
    checkpoints: int = 0
    keep_good_rows: bool = False
    audit: str = "warn"
    suffix: str | None = None
    parent: str | None = None
    gain_on: str | None = None
    base: str | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> TrainingSpec:
        """From JSON. Raises InvalidSpec with one line for each option that is wrong."""
        fields = {f.name: f for f in dataclasses.fields(cls)}
        hints = typing.get_type_hints(cls)
        errors = [
            f"{name}: no such option; expected one of {', '.join(sorted(fields))}"
            for name in sorted(options)
            if name not in fields
        ]
        values: dict[str, Any] = {}
        for name, value in options.items():
            if name not in fields:
                continue
            problem, value = _check(name, value, hints[name])
            if problem:
                errors.append(f"{name}={_shown(value)}: expected {problem}")
            else:
                values[name] = value
        if errors:
            first = errors[0].partition("=")[0].partition(":")[0]
            raise InvalidSpec("\n".join(errors), param=first)
        return cls(**{**PRESETS[values.get("preset", "balanced")], **values})

    def json(self) -> dict[str, Any]:
        """Every option, also those that were not given, as JSON for the manifest."""
        return dataclasses.asdict(self)

    def advice(self, rows: int, asked: Mapping[str, Any]) -> str:
        """What to say to a job that named none of the options that a preset is made of."""
        if rows >= SMALL or {"preset", "rank", "epochs", "search"} & set(asked):
            return ""
        return (
            f"{rows} rows to learn from are few: preset=small-data (rank 4, early stopping) is "
            "made for that, and was not asked for"
        )

    @property
    def lora_alpha(self) -> float:
        """PEFT's `lora_alpha`: an update is scaled by alpha / rank. By alpha / √rank under rslora,
        where the paper's one value serves all ranks (16; arXiv 2312.03732)."""
        if self.alpha is not None:
            return self.alpha
        return 16.0 if self.method == "rslora" else 2.0 * self.rank

    def epochs_for(self, answer_tokens: float) -> float:
        """The most passes over data whose answers have so many tokens on average.

        A label gives one or two tokens' worth of error for each pass over its prompt, a JSON record
        dozens: with switchyard-tiny tickets (2.7 tokens) were still getting better in the sixth
        pass, clauses (35) hardly in the fourth.
        """
        if self.epochs is not None:
            return self.epochs
        return 6.0 if answer_tokens < 8 else 3.0

    def learning_rate_for(self, hidden_size: int) -> float:
        """The learning rate for a base of this width.

        LoRA's best rate does not move with the rank, is ten times that of full fine-tuning, and
        falls with the width: 5e-5 · 10 · (2000 / width)^0.781, as fitted to Llama models in "LoRA
        Without Regret" (Schulman et al., 2025, thinkingmachines.ai/blog/lora). 2.6e-4 at width
        4096, 3.1e-3 at 192. A tenth of that for method full, a fortieth for preferences (6.5e-6 at
        width 4096, near TRL's advice for DPO).
        """
        if self.learning_rate is not None:
            return self.learning_rate * self.learning_rate_multiplier
        rate = 5e-4 * (2000 / max(1, hidden_size)) ** 0.781
        if self.method == "full":
            rate /= 10
        if self.objective in ("dpo", "kto"):
            rate /= 40
        return float(rate * self.learning_rate_multiplier)


def _check(name: str, value: Any, hint: Any) -> tuple[str, Any]:
    """(what was expected, the value as given), or ("", the value as the field wants it)."""
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType) and type(None) in options:
        if value is None:
            return "", None
        hint = next(option for option in options if option is not type(None))
    if name == "rank":
        good = type(value) is int and value in RANKS  # True is an int, and no rank
        return ("" if good else f"one of {', '.join(map(str, RANKS))}"), value
    if name in _CHOICES:
        known = _CHOICES[name]
        return ("" if value in known else f"one of {', '.join(known)}"), value
    if hint is bool:
        return ("" if isinstance(value, bool) else "true or false"), value
    if hint is str:
        return ("" if isinstance(value, str) and value else "a text that is not empty"), value
    if name in _INTEGERS:
        low, high = _INTEGERS[name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        return ("" if whole and low <= value <= high else f"a whole number {low}–{high}"), value
    least, most = _NUMBERS[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and least <= value <= most:  # false for NaN, too
        return "", float(value)
    return f"a number {least:g}–{most:g}", value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
