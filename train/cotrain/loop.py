"""Jobs in, adapters out: at most `seats` learn at once, who is done leaves, who waits gets in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from train.cotrain.stack import Share, Stack
from train.cotrain.trainee import CoJob, Trainee
from train.course import Course
from train.dataset import Example
from train.errors import SupervisionFailed, TrainingError

Report = Callable[[str, dict[str, Any]], None]
_EVALUATED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class CoTrained(Course):
    """One job's adapter under PEFT's names, and how training went; `tokens_per_s` is its share of
    the time that it was on board. `proof` is what train.supervision found in the first step."""

    id: str
    weights: dict[str, torch.Tensor]
    proof: dict[str, Any]


@dataclass
class _Aboard:
    trainee: Trainee
    since: float
    kept: float
    before: int = 0
    """Steps that were made in an earlier process."""


def _raise(_: str, error: TrainingError) -> None:
    raise error


def cotrain(
    model: Any,
    jobs: Iterable[CoJob | None],
    *,
    seats: int = 8,
    most_tokens: int = 8192,
    report: Report = lambda _, __: None,
    failed: Callable[[str, TrainingError], None] = _raise,
    wish: Callable[[str], str] = lambda _: "",
    pausing: Callable[[str], Path] | None = None,
    keeping: Callable[[str, int], Path] | None = None,
    every_s: float = 60.0,
) -> Iterator[CoTrained]:
    """Train adapters on `model`, which is frozen and between two results as it was given.

    Yields each job when it is done. `jobs` is read before each step while there are seats; None in
    it says that nobody waits now but somebody may later. The end is when nobody is on board. A pass
    holds at most `most_tokens` tokens, or one job's step if that is longer; more make further
    passes of the same step. `report` gets a job's id and the news that train.sft tells. `failed`
    gets a job's id and SupervisionFailed where the first step gives one of its layers no gradient:
    it makes no step and leaves, the others go on. `wish` is asked for each job before each step:
    "cancel" drops it, "pause" saves it to `pausing(id)`, from where `CoJob.resume` goes on;
    {"kind": "left"} tells of both. Every `every_s` seconds a state is kept in `keeping(id, step)`.
    Raises InvalidSpec where the base's attention can't be co-trained.
    """
    stack = Stack(model)
    waiting = iter(jobs)
    aboard: list[_Aboard] = []
    while True:
        for job in islice(waiting, seats - len(aboard)):
            if job is None:
                break
            aboard.append(_board(job, stack, report))
        if not aboard:
            return
        aboard = [each for each in aboard if not _left(each.trainee, wish, pausing, report)]
        learning = [each for each in aboard if not each.trainee.done]
        for trainee, error in _step(stack, learning, most_tokens):
            aboard = [each for each in aboard if each.trainee is not trainee]
            learning = [each for each in learning if each.trainee is not trainee]
            failed(trainee.job.id, error)
        for each in learning:
            _tell(each, report)
        ended = [each.trainee for each in learning if each.trainee.ended]
        _validate(stack, [trainee for trainee in ended if trainee.job.validation])
        for trainee in ended:
            _tell_epoch(trainee, report)
        if keeping is not None:
            for each in learning:
                _keep(each, keeping, every_s, report)
        finished = [each for each in aboard if each.trainee.done]
        aboard = [each for each in aboard if not each.trainee.done]
        for each in finished:
            yield _result(each)


def _board(job: CoJob, stack: Stack, report: Report) -> _Aboard:
    trainee, at = Trainee(job, stack.places, stack.device), time.monotonic()
    if job.resume is not None:
        level, text = "warn", "The kept state does not fit this job: training starts anew"
        if trainee.resumed:
            level, text = "info", f"Training goes on after step {trainee.step}"
        report(job.id, {"kind": "event", "level": level, "message": text})
    each = _Aboard(trainee, at, at, trainee.step)
    _tell(each, report)
    return each


def _left(
    trainee: Trainee,
    wish: Callable[[str], str],
    pausing: Callable[[str], Path] | None,
    report: Report,
) -> bool:
    name, wanted = trainee.job.id, wish(trainee.job.id)
    if wanted == "pause" and pausing is not None:
        trainee.save(pausing(name))
        report(name, {"kind": "state", "path": str(pausing(name)), "step": trainee.step})
    elif wanted != "cancel":
        return False
    report(name, {"kind": "left", "paused": wanted == "pause"})
    return True


def _keep(
    each: _Aboard, keeping: Callable[[str, int], Path], every_s: float, report: Report
) -> None:
    if time.monotonic() - each.kept < every_s:
        return
    trainee = each.trainee
    folder = keeping(trainee.job.id, trainee.step)
    trainee.save(folder)
    each.kept = time.monotonic()
    report(trainee.job.id, {"kind": "state", "path": str(folder), "step": trainee.step})


def _step(
    stack: Stack, aboard: Sequence[_Aboard], most_tokens: int
) -> list[tuple[Trainee, TrainingError]]:
    """Whom the step would have taught something else than was meant."""
    wrong: list[tuple[Trainee, TrainingError]] = []
    for crew in _passes([(each.trainee, each.trainee.share()) for each in aboard], most_tokens):
        sums, counts, right = stack.losses([share for _, share in crew], learn=True)
        found = zip(crew, sums.tolist(), counts, right, strict=True)
        for (trainee, share), loss, count, correct in found:
            try:
                trainee.prove(loss / count)
            except SupervisionFailed as error:
                wrong.append((trainee, error))
                continue
            trainee.learn(loss / count, correct / count, _tokens(share.examples), count)
    return wrong


def _validate(stack: Stack, due: Sequence[Trainee]) -> None:
    """The mean loss over all supervised tokens of each one's validation rows, and how many of them
    came first."""
    sums = [0.0] * len(due)
    counts = [0] * len(due)
    firsts = [0] * len(due)
    longest = max((len(trainee.job.validation) for trainee in due), default=0)
    size = max(1, _EVALUATED_AT_ONCE // max(1, len(due)))
    for start in range(0, longest, size):
        shares = {
            place: Share(trainee.weights, rows)
            for place, trainee in enumerate(due)
            if (rows := trainee.job.validation[start : start + size])
        }
        losses, supervised, right = stack.losses(list(shares.values()), learn=False)
        found = zip(shares, losses.tolist(), supervised, right, strict=True)
        for place, loss, count, correct in found:
            sums[place] += loss
            counts[place] += count
            firsts[place] += correct
    for trainee, total, count, correct in zip(due, sums, counts, firsts, strict=True):
        trainee.judge(total / count, correct / count)


def _tell_epoch(trainee: Trainee, report: Report) -> None:
    figures = {
        "step": trainee.step,
        "epoch": trainee.epoch,
        "train_loss": trainee.last_loss(),
        "valid_loss": trainee.rows[-1].get("valid_loss"),
        "valid_mean_token_accuracy": trainee.rows[-1].get("valid_mean_token_accuracy"),
    }
    report(trainee.job.id, {"kind": "checkpoint", "step": trainee.step, "metrics": figures})


def _passes(
    crew: Sequence[tuple[Trainee, Share]], most_tokens: int
) -> Iterator[list[tuple[Trainee, Share]]]:
    now: list[tuple[Trainee, Share]] = []
    tokens = 0
    for trainee, share in crew:
        more = _tokens(share.examples)
        if now and tokens + more > most_tokens:
            yield now
            now, tokens = [], 0
        now.append((trainee, share))
        tokens += more
    if now:
        yield now


def _tokens(examples: Sequence[Example]) -> int:
    return sum(len(example.input_ids) for example in examples)


def _tell(each: _Aboard, report: Report) -> None:
    trainee, spent = each.trainee, time.monotonic() - each.since
    done, made = trainee.step, trainee.step - each.before
    report(
        trainee.job.id,
        {
            "kind": "progress",
            "phase": "training",
            "step": done,
            "steps": trainee.steps,
            "epoch": round(trainee.epoch, 3),
            "loss": trainee.last_loss() if trainee.rows else None,
            "valid_loss": trainee.best_loss,
            "tokens_per_s": _speed(each) if made else None,
            "eta_s": round(spent / made * (trainee.steps - done), 1) if made else None,
            "tokens": trainee.tokens,
            "supervised_tokens": trainee.supervised,
        },
    )


def _speed(each: _Aboard) -> float:
    """Tokens a second since it came on board."""
    trainee, spent = each.trainee, max(time.monotonic() - each.since, 1e-9)
    share = (trainee.step - each.before) / max(1, trainee.step)
    return round(trainee.tokens * share / spent, 1)


def _result(each: _Aboard) -> CoTrained:
    trainee = each.trainee
    trainee.restore()
    return CoTrained(
        id=trainee.job.id,
        weights={name: tensor.cpu() for name, tensor in trainee.weights.state().items()},
        learning_rate=trainee.job.learning_rate,
        most_epochs=trainee.job.epochs,
        steps=trainee.step,
        epochs=trainee.epoch,
        first_loss=trainee.first_loss(),
        last_loss=trainee.last_loss(),
        best_validation_loss=None if trainee.best_loss is None else round(trainee.best_loss, 6),
        best_epoch=round(trainee.best_step / trainee.per_epoch, 4),
        tokens=trainee.tokens,
        tokens_per_s=_speed(each),
        rows=trainee.rows,
        checkpoints=trainee.checkpoints(),
        proof=trainee.proof,
    )
