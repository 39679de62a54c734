"""Which objective, method and quantisation go together. What does not is refused before a weight is
loaded, with the option that is at fault.

Pure: knows options, rows' kinds and the name of a device; nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence

from train.errors import InvalidSpec, InvalidTrainingFile
from train.rows import Row
from train.spec import TrainingSpec

PREFERENCES = ("dpo", "kto")
ROW_KINDS = {"sft": "chat", "dpo": "preference", "kto": "rated", "pretrain": "text"}
COMPILED = ("rslora", "dora", "full")
"""Methods whose result is made into a plain LoRA after training."""


def check(spec: TrainingSpec, device: str = "auto") -> None:
    """Raises InvalidSpec, naming the option to change. `device` "auto" is not held against packing:
    ask again when it is known."""
    if spec.quantize != "none" and spec.method in ("dora", "full"):
        why = (
            "4-bit weights can't be trained"
            if spec.method == "full"
            else "its magnitudes would be those of the 4-bit weights, and the adapter is served on "
            "the whole ones"
        )
        raise InvalidSpec(
            f"quantize={spec.quantize} does not go with method={spec.method}: {why}. Expected "
            "method lora or rslora, or quantize none",
            "quantize",
        )
    if spec.objective in PREFERENCES:
        if spec.method == "full":
            raise InvalidSpec(
                f"objective={spec.objective} compares with the model as it was, which method=full "
                "overwrites: expected method lora, rslora or dora",
                "method",
            )
        if spec.parent is not None and spec.method != "lora":
            raise InvalidSpec(
                f"objective={spec.objective} with a parent goes on from the parent's adapter, a "
                f"plain LoRA: expected method lora, found {spec.method}",
                "method",
            )
    if spec.objective == "kto" and spec.batch_size < 2:
        raise InvalidSpec(
            "objective=kto pairs each prompt with another row's answer of the same batch: expected "
            "batch_size of at least 2",
            "batch_size",
        )
    if spec.replay_source == "file" and not spec.replay:
        raise InvalidSpec(
            "replay_source=file replays nothing at replay 0: expected replay to say how many rows "
            "for each of the tenant's own, such as 0.5",
            "replay_source",
        )
    if spec.packing and spec.objective in PREFERENCES:
        raise InvalidSpec(
            f"packing does not go with objective={spec.objective}: expected packing false",
            "packing",
        )
    if spec.packing and device == "cpu":
        raise InvalidSpec(
            "packing needs FlashAttention, which needs a GPU: without it packed rows would see "
            "each other. Expected packing false on a CPU",
            "packing",
        )


def check_rows(spec: TrainingSpec, rows: Sequence[Row], param: str = "training_file") -> None:
    """Raises InvalidTrainingFile for rows that the objective can't learn from, with their lines."""
    wanted = ROW_KINDS[spec.objective]
    wrong = [row for row in rows if row.kind != wanted]
    if wrong:
        lines = ", ".join(str(row.line) for row in wrong[:20])
        raise InvalidTrainingFile(
            f"objective={spec.objective} learns from {wanted} rows: {len(wrong)} of {len(rows)} "
            f"are {wrong[0].kind} rows: lines {lines}",
            param,
        )
    if spec.objective == "kto" and len({row.good for row in rows}) == 1:
        raise InvalidTrainingFile(
            "objective=kto learns from answers that were liked and answers that were not: expected "
            f"both, found only {'liked' if rows[0].good else 'disliked'} ones",
            param,
        )
