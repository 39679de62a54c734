"""The worker's settings, read once from `SWITCHYARD_WORKER_*`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.judge import Judge

SHIPPED_BASE = Path(__file__).parent / "base" / "switchyard-tiny"


def _between(low: float, high: float) -> dict[str, Any]:
    return {"range": (low, high)}


@dataclass(frozen=True)
class WorkerSettings:
    """Times are seconds. `base` is the folder or Hugging Face id of the served base model; a job
    that names it by its last path part gets it."""

    base: str = str(SHIPPED_BASE)
    name: str | None = None
    """What the worker calls itself in leases; None means host and process id."""
    scratch: Path | None = None
    """Where jobs keep what they can lose; None means the system's folder for temporary files."""
    device: str = field(default="auto", metadata={"choices": ("auto", "cpu", "cuda")})
    threads: int | None = field(default=None, metadata=_between(1, 1024))
    """CPU threads of a job; None means all cores. Other counts may give other last digits."""
    nice: int = field(default=5, metadata=_between(0, 19))
    """How much a job yields to the engine on the same machine: its process priority."""
    lease_s: float = field(default=60.0, metadata=_between(1, 3600))
    renew_s: float = field(default=2.0, metadata=_between(0.05, 600))
    """How often a lease is renewed, progress told and a wish to cancel seen."""
    max_attempts: int = field(default=5, metadata=_between(1, 1000))
    """A job that was begun this often and never got any further is given up."""
    checkpoint_s: float = field(default=60.0, metadata=_between(0, 86_400))
    """The most seconds of training that a dead worker can cost."""
    pause_s: float = field(default=30.0, metadata=_between(0, 3600))
    """How long a job that is to rest may take to keep its state: a step, or an evaluation."""
    tenant_jobs: int = field(default=2, metadata=_between(1, 100_000))
    """The most jobs of one tenant that run at once, on all workers together."""
    cotrain: int = field(default=8, metadata=_between(1, 64))
    """The most jobs on one base that are trained together in one process; 1 means never."""
    evaluation_rows: int = field(default=200, metadata=_between(1, 100_000))
    general: Path | None = None
    """Chats that show what an adapter forgot, JSON Lines; None means made-up ones."""
    general_rows: int = field(default=64, metadata=_between(0, 100_000))
    """The most general rows that measure; 0 means that forgetting is not looked at."""
    few_shot: int = field(default=8, metadata=_between(0, 64))
    """Examples in the prompt of the few-shot baseline."""
    probes: int = field(default=16, metadata=_between(16, 256))
    """Prompts whose logprobs the engine is later held to."""
    exam: str = field(default="auto", metadata={"choices": ("auto", "memory")})
    """Whether what was trained is examined through an engine that is ready, or only in memory."""
    engine_api_key: str | None = field(default=None, repr=False)
    """Opens the engine; never shown."""
    price_per_million: float | None = field(default=None, metadata=_between(0, 1e9))
    """What a million tokens cost, in your money, for the figures of an exam."""
    judge_url: str | None = None
    """An OpenAI-compatible server that gets the held-out questions, references and answers of texts
    and scores them; None means that nobody is asked."""
    judge_model: str | None = None
    judge_api_key: str | None = field(default=None, repr=False)
    """Opens the judge; never shown."""
    judge_rubric: str | None = None
    """What the scores from 1 to 5 stand for, in place of the usual words."""
    judge_limit: int = field(default=100, metadata=_between(1, 10_000))
    """Held-out rows that are judged, at most, of each job."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = field(default=8083, metadata=_between(0, 65535))

    def __post_init__(self) -> None:
        if self.renew_s * 3 > self.lease_s:
            raise ValueError(
                f"renew_s={self.renew_s:g} is too near to lease_s={self.lease_s:g}: "
                "expected at most a third of it"
            )

        if self.general is not None and not self.general.is_file():
            raise ValueError(f"general={str(self.general)!r} is not a file: expected JSON Lines")
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("judge_url and judge_model go together: expected both or neither")
        _ = self.judge  # a bad address is known at the start, not after a training

    @property
    def judge(self) -> Judge | None:
        """Whom the settings name, if anybody."""
        if self.judge_url is None or self.judge_model is None:
            return None
        from train.judge import RUBRIC, Judge

        return Judge(
            self.judge_url,
            self.judge_model,
            self.judge_rubric or RUBRIC,
            self.judge_limit,
            self.judge_api_key,
        )

    @property
    def base_name(self) -> str:
        """What requests and adapters call the base: a folder's last path part, or the id itself."""
        return base_name(self.base)

    def resolve(self, name: str) -> str:
        """The folder or Hugging Face id behind a base's name."""
        return self.base if name in ("", self.base_name, self.base) else name


def base_name(base: str) -> str:
    """A folder's last path part; a Hugging Face id as it is."""
    path = Path(base).expanduser()
    return path.resolve().name if path.is_dir() or path.is_absolute() else base
