"""Which jobs can be co-trained. Imports no torch: the worker asks before anything is begun."""

from __future__ import annotations

import json
from pathlib import Path

from train.spec import TrainingSpec

STATE = "state.json"
STATE_FORMAT = "cotrain-2"
"""What the state of a co-trained job says of itself; train.run can't go on from one."""

_WANTED = {
    "objective": "sft",
    "method": "lora",
    "quantize": "none",
    "packing": False,
    "search": 0,
}


def obstacle(spec: TrainingSpec) -> str:
    """Why a job of these options can't be co-trained; empty where it can."""
    for name, wanted in _WANTED.items():
        if getattr(spec, name) != wanted:
            return f"{name}={getattr(spec, name)}"
    if spec.replay and spec.replay_source == "base":  # which has to answer first, alone
        return f"replay={spec.replay}"
    return ""


def cotrained(state: Path) -> bool:
    """Whether a kept state is a co-trained job's."""
    try:
        facts = json.loads((state / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("format") == STATE_FORMAT
