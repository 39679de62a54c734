"""The papers of a built model.

DIGEST, MODEL_CARD.md and the picture of the loss curve, from the files in its folder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

DIGESTED = ("model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja")

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# switchyard-tiny

A Llama of {parameters:,} parameters ({layers} layers, width {width}, {heads} heads of {head},
vocabulary {vocabulary}, tied embeddings), trained from nothing by `train/base/recipe.py` on chats
that `train/base/corpus.py` generates: {tokens:,} tokens in {steps:,} steps and {minutes:.0f}
minutes on 2 busy CPU cores. It is made for trying adapters on: it copies from the prompt, looks
things up and writes small JSON records. It knows nothing of the world and holds no conversation.

![loss](loss_curve.png)

Exact answers on chats of a seed that training never saw, greedy
(`python -m train.base.evaluate FOLDER`):

| skill | exact | chats |
|---|---|---|
{scores}

Text and weights are this project's own: no outside data.
"""


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_digests(folder: Path) -> None:
    """DIGEST in the format of `sha256sum`: `sha256sum -c DIGEST` checks it."""
    lines = [f"{digest(folder / name)}  {name}\n" for name in DIGESTED]
    (folder / "DIGEST").write_text("".join(lines), "utf-8")


def read_digests(folder: Path) -> dict[str, str]:
    """File name to SHA-256, as DIGEST says."""
    pairs = (line.split("  ", 1) for line in (folder / "DIGEST").read_text("utf-8").splitlines())
    return {name: value for value, name in pairs}


def write_picture(folder: Path) -> None:
    """loss_curve.png from loss_curve.json."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = json.loads((folder / "loss_curve.json").read_text("utf-8"))
    figure, axes = pyplot.subplots(figsize=(7, 3.6))
    axes.plot([p["tokens"] / 1e6 for p in points], [p["loss"] for p in points], linewidth=1)
    axes.set(xlabel="million tokens", ylabel="loss on assistant tokens (nats)", yscale="log")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / "loss_curve.png", dpi=110)
    pyplot.close(figure)


def write_card(folder: Path) -> None:
    """MODEL_CARD.md from config.json, loss_curve.json and evaluation.json."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    last = json.loads((folder / "loss_curve.json").read_text("utf-8"))[-1]
    scores = json.loads((folder / "evaluation.json").read_text("utf-8"))["scores"]
    width, layers, inner = (
        config[k] for k in ("hidden_size", "num_hidden_layers", "intermediate_size")
    )
    parameters = config["vocab_size"] * width + width
    parameters += layers * (4 * width * width + 3 * width * inner + 2 * width)
    card = CARD.format(
        parameters=parameters,
        layers=layers,
        width=width,
        heads=config["num_attention_heads"],
        head=config["head_dim"],
        vocabulary=config["vocab_size"],
        tokens=last["tokens"],
        steps=last["step"],
        minutes=last["seconds"] / 60,
        scores="\n".join(f"| {s['skill']} | {s['exact']:.0%} | {s['chats']} |" for s in scores),
    )
    (folder / "MODEL_CARD.md").write_text(card, "utf-8")


def write_papers(folder: Path) -> None:
    """All of them; evaluation.json must be there."""
    write_picture(folder)
    write_card(folder)
    write_digests(folder)
