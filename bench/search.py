"""What a search for options gains on the example tickets: `python -m bench.search [ROWS] [TRIALS]`.

A fifth of the rows chooses, as in a job; `examples/acme/heldout.jsonl`, which no trial sees, judges
by the share of answers that greedy decoding gets right to the last token, of the first trial (the
job without a search) and of the one that was chosen.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples" / "acme"


def main(rows: int, trials: int) -> None:
    """Search and print a line for each trial, then what was chosen."""
    import torch

    from train import dataset, search
    from train.model import Base
    from train.rows import read
    from train.settings import SHIPPED_BASE
    from train.sft import fine_tune
    from train.spec import TrainingSpec
    from train.split import split

    torch.set_num_threads(os.cpu_count() or 1)
    base = Base(str(SHIPPED_BASE), "cpu")
    model = base.load()
    spec = TrainingSpec.parse({"search": trials, "validation_fraction": 0.2})
    # Five of its lines are broken on purpose, for the audit to find.
    examples = read((EXAMPLES / "train.jsonl").read_bytes(), keep_good_rows=True)[:rows]
    data = split(examples, spec.validation_fraction)
    heldout = read((EXAMPLES / "heldout.jsonl").read_bytes())
    tools = (base.tokenizer, base.training_template, spec.max_length)
    stop = base.stop_tokens()
    learned, supervision = dataset.tokenise(data.train, *tools, stop)
    chosen_by, _ = dataset.tokenise(data.validation, *tools, stop)
    judged_by, _ = dataset.tokenise(heldout, *tools, stop)

    def train(options: TrainingSpec, report: search.Report) -> Any:
        began = time.monotonic()
        assert options.learning_rate is not None and options.epochs is not None
        with tempfile.TemporaryDirectory() as scratch:
            trained = fine_tune(
                model,
                base.tokenizer,
                learned,
                chosen_by,
                options,
                learning_rate=options.learning_rate,
                epochs=options.epochs,
                device="cpu",
                scratch=Path(scratch),
                report=report,
            )
        print(
            f"validation loss {trained.best_validation_loss:.4f}, held out "
            f"{exact(trained.model, judged_by):.3f}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        return trained

    print(f"{len(learned)} rows, {len(chosen_by)} to choose by, {len(judged_by)} to judge by")
    found = search.best_options(
        search.on_base(model, spec, train),
        spec,
        learning_rate=spec.learning_rate_for(base.hidden_size),
        epochs=spec.epochs_for(supervision.supervised / supervision.rows),
        report=lambda message: print(message["message"]) if "message" in message else None,
    )
    print(found.json()["chosen"])


def exact(model: Any, examples: list[Any]) -> float:
    """The share of rows whose every supervised token is the likeliest one, given those before it:
    what greedy decoding would say."""
    import torch

    from train.dataset import IGNORED

    right = 0
    model.eval()
    with torch.inference_mode():
        for example in examples:
            labels = torch.tensor(example.labels)[1:]
            kept = labels != IGNORED
            logits = model(input_ids=torch.tensor([example.input_ids])).logits[0, :-1]
            right += bool((logits[kept].argmax(-1) == labels[kept]).all())
    return right / len(examples)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [300, 8][len(given) :]))
