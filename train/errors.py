"""Everything that ends a training job.

TrainingError(code, message, param)
├── InvalidSpec           the job's options are wrong
├── InvalidTrainingFile   rows that are not `messages` rows, or too few of them
├── NothingSupervised     no row keeps a token to learn from
├── SupervisionFailed     what would be trained is not what was meant
├── BaseUnavailable       the base model or its tokenizer can't be loaded, or can't be trained here
├── OutOfMemory           the process asked for more memory than there is
└── DiskFull              the scratch folder's disk is full

`code` is for programs, `message` for the tenant: what was wrong, where, what was expected.
"""

from __future__ import annotations

import errno

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TrainingError(Exception):
    """Base of what ends a job; `param` names the option or file that is at fault."""

    code = "training_failed"

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidSpec(TrainingError):
    """The job's options are wrong."""

    code = "invalid_spec"


class InvalidTrainingFile(TrainingError):
    """Rows that are not `messages` rows, or too few of them."""

    code = "invalid_training_file"


class NothingSupervised(TrainingError):
    """No row keeps a token to learn from."""

    code = "nothing_supervised"


class SupervisionFailed(TrainingError):
    """What would be trained is not what was meant: told before the first step."""

    code = "supervision_failed"


class BaseUnavailable(TrainingError):
    """The base model or its tokenizer can't be loaded, or can't be trained here."""

    code = "base_unavailable"


class OutOfMemory(TrainingError):
    """The process asked for more memory than there is."""

    code = "out_of_memory"


class DiskFull(TrainingError):
    """The disk is full."""

    code = "disk_full"


def disk_is_full(error: BaseException) -> bool:
    """Whether there is no room left, or none allowed, for what was to be written.

    safetensors and torch raise errors of their own, with the system's number or none in the text.
    """
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    text = str(error)
    return any(f"os error {number}" in text for number in _NO_ROOM) or (
        isinstance(error, RuntimeError)
        and ("PytorchStreamWriter failed" in text or "inline_container" in text)
    )
