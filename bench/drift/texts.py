"""Real text of four kinds, in groups by topic, with changed copies: style, length, language.

Tweets, film reviews, product reviews and newspaper editorials come from the source distribution of
vaderSentiment 2.5 (Hutto and Gilbert 2014, MIT); German and French from Django's own messages
(BSD). Both are fetched from the package index at pinned versions and read from their archives,
never run.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.processes import BenchError

KINDS = {
    "tweets": "tweets_GroundTruth.txt",
    "films": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
GROUPS = 8
_THREADS = 2
"""Sums are added up in so many parts, and in another number the groups are others."""
_SOURCES = (("vaderSentiment==2.5", "sdist"), ("Django==5.2", "wheel"))
_SHORTER = {"you": "u", "are": "r", "please": "pls", "because": "cuz", "and": "n", "to": "2"}


@dataclass(frozen=True)
class Texts:
    """All texts, and who they are. `group` is a topic within a kind; -1 for the other languages."""

    words: list[str]
    kind: NDArray[np.int64]
    group: NDArray[np.int64]
    styled: NDArray[np.int64]
    """For each text, the number of the same one in another style."""
    longer: NDArray[np.int64]
    """For each text, the number of it and another one of its kind put together."""
    foreign: NDArray[np.int64]
    """Numbers of the German and French ones."""


def fetch(folder: Path) -> tuple[Path, Path]:
    """The two archives, downloaded if they aren't there. Raises BenchError."""
    for name, form in _SOURCES:
        download(folder, name, form)
    return next(folder.glob("vader*.tar.gz")), next(folder.glob("[Dd]jango*.whl"))


def download(folder: Path, name: str, form: str) -> None:
    """A package at a version, as `wheel` or `sdist`, if it isn't there. Raises BenchError."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.split("==")[0].lower()
    if any(path.name.lower().startswith(stem) for path in folder.iterdir()):
        return
    binary = ["--no-binary", ":all:"] if form == "sdist" else []
    said = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *binary,
         "--dest", str(folder), name],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if said.returncode != 0:
        raise BenchError(f"{name}, which is needed, can't be had:\n{said.stderr[-2000:]}")


def load(folder: Path) -> Texts:
    """Read, group and change the texts. The same for everyone, at the same versions."""
    snippets, messages = fetch(folder)
    rng = Random(1)
    words: list[str] = []
    kind: list[int] = []
    group: list[int] = []
    for number, found in enumerate(_prompts(snippets, rng)):
        words += found
        kind += [number] * len(found)
        group += _grouped(found)
    own = len(words)
    styled = [_style(text) for text in words]
    longer = [f"{text} {words[_other(rng, kind, n)]}" for n, text in enumerate(words)]
    foreign = _foreign(messages)
    everything = [*words, *styled, *longer, *foreign]
    rest = len(everything) - own
    return Texts(
        everything,
        np.array(kind + [-1] * rest),
        np.array(group + [-1] * rest),
        np.arange(own) + own,
        np.arange(own) + 2 * own,
        np.arange(3 * own, len(everything)),
    )


def _prompts(archive: Path, rng: Random) -> list[list[str]]:
    """By kind: one to three neighbouring sentences of one review or article are a prompt."""
    with tarfile.open(archive) as outer:
        name = next(n for n in outer.getnames() if n.endswith("hutto_ICWSM_2014.tar.gz"))
        member = outer.extractfile(name)
        assert member is not None
        packed = member.read()
    kinds = []
    with tarfile.open(fileobj=io.BytesIO(packed)) as inner:
        for name in KINDS.values():
            member = inner.extractfile(next(n for n in inner.getnames() if n.endswith("/" + name)))
            assert member is not None
            rows = [line.split("\t") for line in member.read().decode("latin-1").splitlines()]
            rows = [row for row in rows if len(row) == 3 and len(row[2]) > 20]
            found = []
            for _, run in groupby(rows, key=lambda row: row[0].split("_")[0]):
                while taken := list(islice(run, rng.randint(1, 3))):
                    found.append(" ".join(row[2] for row in taken))
            kinds.append(list(dict.fromkeys(found)))
    return kinds


def _grouped(texts: list[str]) -> list[int]:
    """Topics, by k-means on TF-IDF."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    with threadpool_limits(_THREADS):
        counts = TfidfVectorizer(min_df=3, max_df=0.2, sublinear_tf=True).fit_transform(texts)
        flat = normalize(TruncatedSVD(24, random_state=0).fit_transform(counts))
        return [int(n) for n in KMeans(GROUPS, n_init=2, random_state=0).fit_predict(flat)]


def _other(rng: Random, kind: list[int], number: int) -> int:
    while True:
        other = rng.randrange(len(kind))
        if kind[other] == kind[number]:
            return other


def _style(text: str) -> str:
    """As typed on a telephone in a hurry: lower case, no punctuation, short forms."""
    plain = re.sub(r"[^\w\s]", "", text.lower())
    return " ".join(_SHORTER.get(word, word) for word in plain.split())


def _foreign(archive: Path) -> list[str]:
    """German and French sentences from Django's catalogues."""
    found: dict[str, None] = {}
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist()):
            if re.search(r"/locale/(de|fr)/LC_MESSAGES/django\.po$", name):
                for block in wheel.read(name).decode().split("\n\n"):
                    said = re.search(r'^msgstr(?:\[0\])? ((?:".*"\n?)+)', block, re.M)
                    text = "".join(re.findall(r'"(.*)"', said[1])) if said else ""
                    if len(text) > 25 and "#, fuzzy" not in block and "Content-Type" not in text:
                        found[text.replace("\\n", " ").replace('\\"', '"')] = None
    return [*found]
