"""What the model can and can't do: exact match per skill on chats that training never used.

Greedy, plain transformers. `python -m train.base.evaluate FOLDER` writes FOLDER/evaluation.json.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from train.base.chat import Chat, chat
from train.base.corpus import SKILLS
from train.base.invention import gibberish
from train.base.lexicon import load_lexicon

SEED = 900_001  # training uses one seed, 7 by default
OPEN_ENDED = frozenset(("story", "onward", "more words", "word list"))  # no single right answer
COPY_SIZES = range(1, 13)


@dataclass(frozen=True)
class Score:
    """Exact answers among the chats of one skill."""

    skill: str
    chats: int
    exact: float


def held_out_chats(per_skill: int, seed: int = SEED) -> dict[str, list[Chat]]:
    """Chats of each skill with one right answer, and copying of unseen words of 1 to 12 words."""
    rng = random.Random(seed)
    lexicon = load_lexicon()
    wanted = {
        name: [skill(rng, lexicon) for _ in range(per_skill)]
        for name, (skill, *_weights) in SKILLS.items()
        if name not in OPEN_ENDED
    }
    for size in COPY_SIZES:
        texts = [" ".join(gibberish(rng) for _ in range(size)) for _ in range(per_skill)]
        wanted[f"copy {size} unseen"] = [
            chat(rng, "copy", (f"Repeat: {text}", text), system="") for text in texts
        ]
    return wanted


def answers(model: Any, tokenizer: Any, chats: list[Chat], batch: int = 25) -> list[str]:
    """The model's greedy answer to the last question of each chat, in order."""
    import torch

    tokenizer.padding_side = "left"
    order = sorted(range(len(chats)), key=lambda i: sum(len(t) for _, t in chats[i].turns))
    found = [""] * len(chats)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        inputs = tokenizer.apply_chat_template(
            [chats[i].messages[:-1] for i in part],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=100, do_sample=False)
        texts = tokenizer.batch_decode(
            out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for i, text in zip(part, texts, strict=True):
            found[i] = text
    return found


def evaluate(folder: Path, per_skill: int = 50, threads: int = 2) -> list[Score]:
    """Scores of the model in `folder`, in the order of the corpus.

    Also written to its evaluation.json.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    # transformers types its models in a way that mypy can't follow to `generate`.
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.eval()
    scores = []
    for name, chats in held_out_chats(per_skill).items():
        said = answers(model, tokenizer, chats)
        right = sum(text == one.turns[-1][1] for text, one in zip(said, chats, strict=True))
        scores.append(Score(name, len(chats), round(right / len(chats), 3)))
    report = {"seed": SEED, "decoding": "greedy", "scores": [asdict(score) for score in scores]}
    (folder / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return scores


if __name__ == "__main__":
    for score in evaluate(Path(sys.argv[1])):
        print(f"{score.skill:<18} {score.exact:6.1%} of {score.chats}")
