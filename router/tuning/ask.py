"""What a client asks of a new job, checked, and as the options that the worker knows. Pure."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec

from router.errors import InvalidRequest

DEFAULT_SUFFIX = "fine-tuned"
FIELDS = frozenset(
    {
        *("model", "training_file", "validation_file", "method", "hyperparameters"),
        *("suffix", "seed", "metadata", "integrations"),
    }
)
RANGES: dict[str, tuple[str, float, float, bool]] = {
    "n_epochs": ("epochs", 1, 100, True),
    "batch_size": ("batch_size", 1, 1024, True),
    "learning_rate_multiplier": ("learning_rate_multiplier", 0.001, 1000, False),
    "beta": ("beta", 0.0001, 100, False),
}
"""OpenAI's name → (the worker's, least, most, whether it is whole)."""


@dataclass(frozen=True)
class Ask:
    """`method` is "supervised" or "dpo", `hyperparameters` are as they were said. `suffix` is None
    where none was said, else a name that an adapter may have. `body` is the request as it came."""

    model: str
    training_file: str
    validation_file: str | None
    method: str
    hyperparameters: dict[str, Any]
    suffix: str | None
    seed: int
    metadata: dict[str, str]
    body: dict[str, Any]

    def spec(self) -> dict[str, Any]:
        """The worker's options."""
        options: dict[str, Any] = {
            "objective": "dpo" if self.method == "dpo" else "sft",
            "seed": self.seed,
        }
        for name, value in self.hyperparameters.items():
            if value != "auto":
                options[RANGES[name][0]] = value
        return options


def parse(raw: bytes) -> Ask:
    """Raises InvalidRequest; its `param` says where."""
    try:
        raw.decode()
        body = msgspec.json.decode(raw)  # refuses halves of surrogate pairs, which fit nowhere
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest(
            "We could not parse the JSON body of your request.", code="invalid_json"
        )
    for name in sorted(body.keys() - FIELDS):
        raise InvalidRequest(
            f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter"
        )
    if body.get("integrations") not in (None, []):
        raise InvalidRequest(
            "Integrations are not supported: the figures of every step are in the job's events and "
            "result files.",
            param="integrations",
            code="unsupported_parameter",
        )
    method, hyperparameters = _method(body)
    return Ask(
        model=_text(body, "model", required=True) or "",
        training_file=_text(body, "training_file", required=True) or "",
        validation_file=_text(body, "validation_file"),
        method=method,
        hyperparameters=hyperparameters,
        suffix=_suffix(body),
        seed=_seed(body.get("seed")),
        metadata=_metadata(body.get("metadata")),
        body=body,
    )


def _text(body: dict[str, Any], name: str, *, required: bool = False) -> str | None:
    value = body.get(name)
    if value is None and required:
        raise InvalidRequest(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    text = isinstance(value, str) and 1 <= len(value) <= 500 and "\0" not in value
    if value is not None and not text:
        raise _invalid(name, "a text of 1–500 characters")
    return value


def _method(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    legacy = _hyperparameters(body.get("hyperparameters"), "hyperparameters", dpo=False)
    method = body.get("method")
    if method is None:
        return "supervised", legacy
    if not isinstance(method, dict):
        raise _invalid("method", "an object with a 'type'")
    kind = method.get("type")
    if kind == "reinforcement":
        raise InvalidRequest(
            "Reinforcement fine-tuning is not supported: expected 'supervised' or 'dpo'.",
            param="method.type",
            code="unsupported_value",
        )
    if kind not in ("supervised", "dpo"):
        raise _invalid("method.type", "'supervised' or 'dpo'")
    for other in sorted(method.keys() - {"type", kind}):
        if method[other] is not None:
            raise _invalid(f"method.{other[:100]}", f"nothing but 'type' and '{kind}'")
    options = {} if method.get(kind) is None else method[kind]
    if not isinstance(options, dict):
        raise _invalid(f"method.{kind}", "an object")
    where = f"method.{kind}.hyperparameters"
    found = _hyperparameters(options.get("hyperparameters"), where, dpo=kind == "dpo")
    if legacy and found:
        raise _invalid("hyperparameters", "nothing, where 'method' has them")
    return kind, found or legacy


def _hyperparameters(found: Any, where: str, *, dpo: bool) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _invalid(where, "an object")
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if name not in RANGES or (name == "beta" and not dpo):
            raise InvalidRequest(
                f"Unknown parameter: '{where}.{name[:100]}'.",
                param=f"{where}.{name[:100]}",
                code="unknown_parameter",
            )
        if value is None:
            continue
        _, least, most, whole = RANGES[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        good = number and least <= value <= most  # no more for NaN and the infinities
        if value != "auto" and not (good and (not whole or value == int(value))):
            kind = "a whole number" if whole else "a number"
            raise _invalid(f"{where}.{name}", f"'auto' or {kind} {least:g}–{most:g}")
        kept[name] = int(value) if whole and value != "auto" else value
    return kept


def _suffix(body: dict[str, Any]) -> str | None:
    suffix = body.get("suffix")
    if suffix is None:
        return None
    if not isinstance(suffix, str) or not 1 <= len(suffix) <= 64:
        raise _invalid("suffix", "1–64 characters")
    name = re.sub(r"[^a-z0-9]+", "-", suffix.lower()).strip("-")[:63].strip("-")
    if not name:
        raise _invalid("suffix", "a letter or a digit in it")
    return name


def _seed(seed: Any) -> int:
    if seed is None:
        return secrets.randbelow(2**31)
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise _invalid("seed", "a whole number 0–2147483647")
    return seed


def _metadata(found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or len(found) > 16:
        raise _invalid("metadata", "an object of at most 16 texts")
    for key, value in found.items():
        if not 1 <= len(key) <= 64 or not isinstance(value, str) or len(value) > 512:
            raise _invalid("metadata", "keys of 1–64 and texts of at most 512 characters")
    return found


def _invalid(name: str, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{name}': expected {expected}.", param=name, code="invalid_value"
    )
