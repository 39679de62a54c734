"""Meanings: what the words of an engine's base mean, told to the registry for drift.

The router sketches prompts by it and has none of the base's files. So whoever runs the engine makes
the table (`monitoring.meaning`) out of the base's own token embeddings, keeps it in the store and
says so in the engines' rows. All engines of a base use one table: made again elsewhere it might
differ in a last bit, and sketches by two tables can't be compared.
"""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from monitoring.meaning import Meaning
from registry import Registry
from registry.errors import ContentCorrupted, ContentMissing
from serve import vocabulary
from serve.embeddings import Embeddings
from serve.resolver import base_folder
from serve.vocabulary import UnreadableBase

_log = structlog.get_logger()

_AGAIN_S = 60.0


def settle(registry: Registry, base: str, name: str) -> str:
    """The digest of the table of the base called `name`: the one that its engines have, else one
    made from `base`, a folder or a Hugging Face id, and told. Blocks for seconds.

    Raises UnreadableBase, DatabaseUnavailable, and what the store raises.
    """
    digest = _told(registry, name)
    if digest is None:
        packed = make(_folder(base)).dump()
        digest = _told(registry, name)  # an engine beside this one may have been faster
        if digest is None:
            digest = registry.store.put_blob(packed)
            registry.engines.set_meaning(name, digest)
            return registry.store.put_blob(packed)  # one that nobody named may have been swept
    registry.engines.set_meaning(name, digest)
    return digest


def make(folder: Path) -> Meaning:
    """From a base's files. Raises UnreadableBase, OSError."""
    vectors = Embeddings(folder)
    texts = vocabulary.texts(folder)
    try:
        # Tokens that were added to a tokenizer and not to its model have no row.
        return Meaning.make(texts[: vectors.shape[0]], vectors)
    except ValueError as error:
        raise UnreadableBase(folder, str(error)) from None


class Teller:
    """A thread that settles it and ends. Nothing waits for it, and nothing fails with it: a base
    that can't be read is one warning, and drift goes without meanings; a registry or store that is
    away is asked again every `again_s` seconds."""

    def __init__(
        self, registry: Registry, base: str, name: str, *, again_s: float = _AGAIN_S
    ) -> None:
        self._registry = registry
        self._base = base
        self._name = name
        self._again_s = again_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns at once. Does nothing while a thread is at it."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="meaning", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ask no more, and wait so long for what was begun. The process may end all the same."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        warned = False
        while not self._stopped.is_set():
            try:
                digest = settle(self._registry, self._base, self._name)
            except UnreadableBase as error:
                _log.warning("engine.meaning_unknown", base=self._name, why=str(error))
                return
            except Exception as error:  # the thread's edge: the store may be of any kind
                if not warned:
                    again = f"trying again every {self._again_s:g} s"
                    _log.warning("engine.meaning_late", why=f"{error!r}: {again}", base=self._name)
                warned = True
            else:
                _log.info("engine.meaning", base=self._name, digest=digest[:12])
                return
            self._stopped.wait(self._again_s)


def _told(registry: Registry, name: str) -> str | None:
    """What the engines of a base say already, if it can be had and used."""
    digest = registry.engines.meaning(name)
    if digest is None:
        return None
    try:
        Meaning.load(registry.store.blob(digest))
    except (ContentMissing, ContentCorrupted, ValueError):  # ValueError: of an earlier release
        return None
    return digest


def _folder(base: str) -> Path:
    try:
        return base_folder(base)
    except (ImportError, OSError, ValueError) as error:  # huggingface_hub says so in many ways
        raise UnreadableBase(Path(base), f"it is not in the hub's cache: {error}") from None
