"""The peers' side: run as a file by a peer's own Python, which knows nothing of ours.

    python peers.py NAME FOLDER SECONDS

Reads FOLDER/streams.npz, sketches.npy and texts.json; writes FOLDER/NAME/STREAM.json for each
stream that isn't there yet, until SECONDS have passed. A file holds [prompts since the first day,
statistic] each time that the statistic was higher than ever, so that any threshold can be set
afterwards.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

LEXICAL, MEANING = 128, 160  # where a sketch's numbers end: grams, meanings; descriptors follow
DELTAS = [10.0**-n for n in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40)]
WINDOW, STEP = 100, 50


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    warnings.simplefilter("ignore")
    until = time.monotonic() + seconds
    sketches = np.load(folder / "sketches.npy")
    texts = json.loads((folder / "texts.json").read_text())
    (folder / name).mkdir(exist_ok=True)
    test = {"adwin": adwin, "evidently": evidently}.get(name, mmd)
    for _ in test(name, sketches, texts, np.arange(400), np.arange(400, 600)):
        pass  # imports and first calls are not counted as its cost
    with np.load(folder / "streams.npz") as streams:
        keys = {key.rsplit("/")[0] for key in streams}
        # A few of each kind first: a run that was stopped has something of everything.
        for key in sorted(keys, key=lambda key: (int(key.rsplit(" ", 1)[1]), key)):
            said = folder / name / f"{key}.json"
            if said.exists():
                continue
            if time.monotonic() > until:
                return
            begun = time.process_time()
            chosen, first = streams[f"{key}/texts"], int(streams[f"{key}/first"])
            reference = chosen[streams[f"{key}/reference"]]
            found, highest = [], -np.inf
            for number, statistic in test(name, sketches, texts, reference, chosen[first:]):
                if statistic > highest:
                    highest = statistic
                    found.append([number, round(statistic, 9)])
            spent = (time.process_time() - begun) / len(chosen[first:])
            partial = said.with_suffix(".partial")
            partial.write_text(json.dumps({"records": found, "cpu_us": round(spent * 1e6, 1)}))
            partial.rename(said)
    (folder / name / "complete").touch()


def adwin(
    _: str, sketches: Any, texts: Any, reference: Any, later: Any
) -> Iterator[tuple[int, float]]:
    """River's ADWIN knows one number: one each on likeness to the reference's mean by grams and by
    meaning, length, capitals, accents and symbols; the first to alarm counts. A statistic of n:
    alarmed with delta 10^-n."""
    from river.drift import ADWIN

    mean = sketches[reference].mean(axis=0)

    def numbers(chosen: Any) -> Any:
        rows = sketches[chosen]
        shape = rows[:, [MEANING, MEANING + 4, MEANING + 5, MEANING + 6]]
        grams = rows[:, :LEXICAL] @ mean[:LEXICAL]
        meant = rows[:, LEXICAL:MEANING] @ mean[LEXICAL:MEANING]
        return np.column_stack([grams, meant, shape])

    usual = numbers(reference)
    low, span = usual.min(axis=0), np.maximum(np.ptp(usual, axis=0), 0.02)
    before = np.clip((usual - low) / span, 0, 1).tolist()
    after = np.clip((numbers(later) - low) / span, 0, 1).tolist()
    alarms = []
    for delta in DELTAS:
        tests = [ADWIN(delta=delta) for _ in before[0]]
        for row in before:
            for test, value in zip(tests, row, strict=True):
                test.update(value)
        for number, row in enumerate(after):
            alarmed = False
            for test, value in zip(tests, row, strict=True):
                test.update(value)
                alarmed = alarmed or test.drift_detected
            if alarmed:
                alarms.append((number, -float(np.log10(delta))))
                break
        else:
            break  # a smaller delta will not alarm either
    yield from sorted(alarms)


def mmd(
    name: str, sketches: Any, texts: Any, reference: Any, later: Any
) -> Iterator[tuple[int, float]]:
    """alibi-detect's online MMD on the numbers of our sketches, descriptors in standard deviations.
    `mmd-50`: its window is 50."""
    import torch
    from alibi_detect.cd import MMDDriftOnline

    torch.set_num_threads(1)
    torch.manual_seed(0)
    usual = sketches[reference]
    scale = np.maximum(usual.std(axis=0), 0.02) * np.sqrt(12)  # twelve descriptors weigh as one
    scale[:MEANING] = 1.0
    numbers = (sketches / scale).astype(np.float32)
    window = int(name.split("-")[1])
    # Its own thresholds aren't used, and a longer window can't be given one for a short run.
    test = MMDDriftOnline(
        numbers[reference], ert=max(20.0, 2.0 * window), window_size=window, backend="pytorch",
        n_bootstraps=200 if window < 50 else 1000, verbose=False,
    )  # fmt: skip
    for number, row in enumerate(numbers[later]):
        yield number, test.score(row)


def evidently(
    _: str, sketches: Any, texts: Any, reference: Any, later: Any
) -> Iterator[tuple[int, float]]:
    """Evidently's text drift: how well a classifier tells the last prompts from the reference,
    asked every `STEP` prompts. The function is the one that its reports call."""
    from importlib import import_module

    import pandas as pd

    drift = import_module("evidently.legacy.utils.data_drift_utils")

    usual = pd.Series([texts[n] for n in reference])
    for end in range(WINDOW, len(later) + 1, STEP):
        last = pd.Series([texts[n] for n in later[end - WINDOW : end]])
        score, _drifted = drift.calculate_text_drift_score(usual, last, bootstrap=False)
        yield end - 1, float(score)


if __name__ == "__main__":
    main()
