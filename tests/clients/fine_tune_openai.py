"""Fine-tuning by the openai SDK, 2.x or 3.x, as a tenant's developer would: nothing of ours.

Key and address come from OPENAI_API_KEY and OPENAI_BASE_URL, the base's name from FINE_TUNE_MODEL.
Prints what it got as a JSON object. FINE_TUNE_FOLLOW=1 waits for the jobs and chats with what they
made, checkpoints included.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import openai

MODEL = os.environ["FINE_TUNE_MODEL"]
OVER = ("succeeded", "failed", "cancelled")
THINGS = ("invoice", "card", "refund", "fee", "parcel", "courier", "letter", "van")
ASKS = (
    "please look at the {}",
    "tell me about the {} again",
    "my {} was wrong",
    "when will the {} come?",
    "the {} is not what i asked for",
)
ROWS = [
    {
        "messages": [
            {"role": "user", "content": ask.format(thing)},
            {"role": "assistant", "content": "billing" if place < 4 else "delivery"},
        ]
    }
    for ask in ASKS
    for place, thing in enumerate(THINGS)
]
PAIRS = [
    {
        "input": {"messages": row["messages"][:1]},
        "preferred_output": row["messages"][1:],
        "non_preferred_output": [{"role": "assistant", "content": "other"}],
    }
    for row in ROWS
]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def lacking(*objects: Any) -> list[str]:
    """Fields of the SDK's types that an object did not come with; values of another type raise."""
    found: set[str] = set()
    for each in objects:
        raw = json.loads(each.model_dump_json(exclude_unset=True))
        type(each).model_validate(raw)
        found |= {f"{type(each).__name__}.{name}" for name in type(each).model_fields.keys() - raw}
    return sorted(found)


def refused(act: Callable[[], Any]) -> list[Any]:
    try:
        act()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.code, error.param]
    return []


def followed(client: openai.OpenAI, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + float(os.environ.get("FINE_TUNE_SECONDS", "600"))
    job = client.fine_tuning.jobs.retrieve(job_id)
    while job.status not in OVER:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job_id} is still {job.status}")
        time.sleep(1.0)
        job = client.fine_tuning.jobs.retrieve(job_id)
    checkpoints = [
        c.fine_tuned_model_checkpoint for c in client.fine_tuning.jobs.checkpoints.list(job_id)
    ]
    names = [job.fine_tuned_model, *checkpoints] if job.fine_tuned_model else []
    hello: Any = [{"role": "user", "content": "please look at the invoice"}]
    models = [client.chat.completions.create(model=n, messages=hello).model for n in names if n]
    events = [event.message for event in client.fine_tuning.jobs.list_events(job_id)]
    results = [client.files.content(file).text.splitlines()[0] for file in job.result_files]
    return {
        "status": job.status,
        "error": job.error and job.error.message,
        "names": names,
        "models": models,
        "events": events,
        "results": results,
    }


def main() -> dict[str, Any]:
    got: dict[str, Any] = {"version": openai.__version__}
    dpo: Any = {
        "type": "dpo",
        "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": 2, "learning_rate_multiplier": 10}},
    }
    supervised: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    with openai.OpenAI(max_retries=0) as client:
        jobs = client.fine_tuning.jobs
        chats = client.files.create(file=("chats.jsonl", lines(ROWS)), purpose="fine-tune")
        pairs = client.files.create(file=("pairs.jsonl", lines(PAIRS)), purpose="fine-tune")
        first = jobs.create(
            model=MODEL, training_file=chats.id, suffix="first", seed=1, method=supervised
        )
        second = jobs.create(model=MODEL, training_file=pairs.id, suffix="second", method=dpo)
        third = jobs.create(model=MODEL, training_file=chats.id, suffix="third")
        raw = jobs.with_raw_response.retrieve(third.id)
        got["request_id"] = raw.headers["x-request-id"].startswith("req_")
        events = [*jobs.list_events(third.id, limit=1)]
        got["lacking"] = lacking(chats, first, second, third, raw.parse(), *events)
        got["paused"] = jobs.pause(third.id).status
        got["resumed"] = jobs.resume(third.id).status
        got["cancelled"] = jobs.cancel(third.id).status
        got["listed"] = {first.id, second.id, third.id} <= {job.id for job in jobs.list(limit=1)}
        got["errors"] = {
            "request": refused(
                lambda: jobs.create(model=MODEL, training_file=chats.id, suffix="!")
            ),
            "file": refused(lambda: client.files.create(file=("a", b"[]"), purpose="fine-tune")),
            "unknown": refused(lambda: jobs.retrieve("ftjob-unknown")),
            "conflict": refused(lambda: jobs.resume(third.id)),
            "key": refused(lambda: client.with_options(api_key="sk-wrong").files.list()),
            "too_many": refused(
                lambda: [
                    jobs.create(model=MODEL, training_file=chats.id, suffix="many")
                    for _ in range(30)
                ]
            ),
        }
        for job in jobs.list(limit=50):
            if job.id not in (first.id, second.id) and job.status not in OVER:
                jobs.cancel(job.id)
        if os.environ.get("FINE_TUNE_FOLLOW"):
            got["first"] = followed(client, first.id)
            got["second"] = followed(client, second.id)
        else:
            jobs.cancel(first.id)
            jobs.cancel(second.id)
        got["lacking"] += lacking(client.files.delete(chats.id), *client.files.list(limit=1))
        got["deleted"] = chats.id not in {file.id for file in client.files.list()}
    return got


if __name__ == "__main__":
    print(json.dumps(main()))
