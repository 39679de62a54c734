"""Hooks for schemathesis: a request that is well formed also means something. Loaded by its name
from SCHEMATHESIS_HOOKS; the base, file and job to aim at come from AIM_*.

Half of the requests for a file or a job by id are left as they are; what is meant to be wrong, is.
So is every id in a chain of requests: it is that of what the chain has made, and is expected there.
"""

from __future__ import annotations

import os
import random
from typing import Any

import schemathesis
from schemathesis.generation.meta import TestPhase

from tests.router.tuning.making import chat_lines

_random = random.Random(7)
_IDS = {name: os.environ[f"AIM_{name.upper()}"].split() for name in ("file_id", "job_id")}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put real ids, a real base and real rows into what is meant to be good."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    chained = case.meta.phase.name is TestPhase.STATEFUL
    for name, ids in _IDS.items():
        if not chained and name in (case.path_parameters or {}) and _random.random() < 0.5:
            case.path_parameters[name] = _random.choice(ids)
    if case.operation.definition.raw.get("operationId") == "create_job":
        case.body |= {"model": os.environ["AIM_BASE"], "training_file": _IDS["file_id"][0]}
        case.body.pop("validation_file", None)
    if case.operation.definition.raw.get("operationId") == "upload_file":
        case.body["file"] = chat_lines(2).decode()  # judged by its schema again: a string
