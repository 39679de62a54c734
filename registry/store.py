"""The content-addressed store: adapter folders and blobs, named by their SHA-256, through fsspec.

A folder's digest is the SHA-256 of its manifest, the canonical JSON of {file name: SHA-256}. It is
written last, so a half-copied folder does not exist. Every read into use is verified. Knows nothing
about what the files mean.

    <url>/adapters/<digest>/MANIFEST.json, <files…>
    <url>/blobs/<digest>
    <url>/registries/<name>         who keeps things here
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import fsspec

from registry.errors import AmbiguousDigest, ContentCorrupted, ContentMissing, UnsafeContent

MANIFEST = "MANIFEST.json"
_CHUNK = 1 << 20
_DIGEST = re.compile("[0-9a-f]{64}")


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: one byte string for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_file(path: Path) -> str:
    """SHA-256 of a local file, hex, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def folder_manifest(folder: Path) -> dict[str, str]:
    """{relative POSIX name: SHA-256} of every regular file below a folder but its own MANIFEST."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


class Store:
    """A store at an fsspec URL: `file:///path`, `s3://bucket/prefix`, `memory://name`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        # A cached listing would show what another process has taken out meanwhile.
        options = {"use_listings_cache": False, **options}
        self._fs, root = fsspec.core.url_to_fs(url, **options)
        self._root = str(root).rstrip("/")

    def publish(self, folder: Path) -> str:
        """Copy a folder in; its digest. A folder that is there already is left as it is."""
        files = folder_manifest(folder)
        if not files:
            raise ValueError(f"{folder} holds no files to publish")
        manifest = canonical(files)
        digest = hashlib.sha256(manifest).hexdigest()
        where = self._folder(digest)
        if not self._fs.exists(f"{where}/{MANIFEST}"):
            for name in files:
                target = f"{where}/{name}"
                self._fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                self._write(target, folder / name)
            self._write(f"{where}/{MANIFEST}", manifest)
        return digest

    def files(self, digest: str) -> dict[str, str]:
        """{name: SHA-256}. Raises ContentMissing, ContentCorrupted (and UnsafeContent)."""
        try:
            raw = self._fs.cat_file(f"{self._folder(digest)}/{MANIFEST}")
        except FileNotFoundError:
            raise ContentMissing(digest, self.url) from None
        found = hashlib.sha256(raw).hexdigest()
        if found != digest:
            raise ContentCorrupted(f"adapters/{digest[:12]}…/{MANIFEST}", digest, found)
        names: dict[str, str] = json.loads(raw)
        for name in names:
            if not _is_safe(name):
                raise UnsafeContent(digest, name)
        return names

    def read(self, digest: str, name: str) -> bytes:
        """One verified file of a folder. Raises ContentMissing, ContentCorrupted."""
        expected = self.files(digest).get(name)
        if expected is None:
            raise ContentMissing(digest, f"{self.url} ({name})")
        try:
            raw: bytes = self._fs.cat_file(f"{self._folder(digest)}/{name}")
        except FileNotFoundError:
            raise ContentMissing(digest, f"{self.url} ({name})") from None
        found = hashlib.sha256(raw).hexdigest()
        if found != expected:
            raise ContentCorrupted(f"adapters/{digest[:12]}…/{name}", expected, found)
        return raw

    def fetch(self, digest: str, into: Path) -> Path:
        """A verified local copy at `into/<digest>`.

        The copy appears under its name only when complete; one that is there is verified again, and
        fetched anew if it was damaged. Raises ContentMissing, ContentCorrupted.
        """
        target = into / digest
        files = self.files(digest)
        if _is_whole(target, files):
            return target
        into.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}-", dir=into))
        damaged = scratch.with_name(f"{scratch.name}-damaged")
        try:
            for name, expected in files.items():
                local = scratch / name
                local.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._fs.get_file(f"{self._folder(digest)}/{name}", str(local))
                except FileNotFoundError:
                    raise ContentMissing(digest, f"{self.url} ({name})") from None
                found = sha256_file(local)
                if found != expected:
                    raise ContentCorrupted(f"adapters/{digest[:12]}…/{name}", expected, found)
            (scratch / MANIFEST).write_bytes(canonical(files))
            scratch.chmod(0o755)
            while True:
                try:
                    os.rename(scratch, target)
                    return target
                except OSError:
                    if not target.is_dir():
                        raise
                if _is_whole(target, files):
                    return target  # another process was faster; somebody may be reading its copy
                with suppress(FileNotFoundError):
                    os.rename(target, damaged)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)

    def remove(self, digest: str) -> None:
        """Take a folder out; its manifest first, so that no half of it can be read. One that is not
        there is no error. For what nobody refers to: a version's files must stay."""
        where = self._folder(digest)
        with suppress(FileNotFoundError):
            self._fs.rm_file(f"{where}/{MANIFEST}")
        with suppress(FileNotFoundError):
            self._fs.rm(where, recursive=True)

    def find(self, prefix: str) -> str:
        """The whole digest of the one folder whose digest begins so.

        Raises ContentMissing, AmbiguousDigest.
        """
        if not prefix or any(c not in "0123456789abcdef" for c in prefix):
            raise ContentMissing(prefix, self.url)
        found = [
            PurePosixPath(path).parts[-2]
            for path in self._fs.glob(f"{self._root}/adapters/{prefix}*/{MANIFEST}")
        ]
        if not found:
            raise ContentMissing(prefix, self.url)
        if len(found) > 1:
            raise AmbiguousDigest(prefix, len(found))
        return found[0]

    def put_blob(self, data: bytes) -> str:
        """Keep some bytes; their digest."""
        digest = hashlib.sha256(data).hexdigest()
        path = f"{self._root}/blobs/{digest}"
        if not self._fs.exists(path):
            self._fs.makedirs(f"{self._root}/blobs", exist_ok=True)
            self._write(path, data)
        return digest

    def blob(self, digest: str) -> bytes:
        """Verified bytes. Raises ContentMissing, ContentCorrupted."""
        try:
            raw: bytes = self._fs.cat_file(f"{self._root}/blobs/{digest}")
        except FileNotFoundError:
            raise ContentMissing(digest, self.url) from None
        found = hashlib.sha256(raw).hexdigest()
        if found != digest:
            raise ContentCorrupted(f"blobs/{digest[:12]}…", digest, found)
        return raw

    def put_stream(self, file: IO[bytes]) -> tuple[str, int]:
        """Keep what an open, seekable file holds, a piece at a time; its digest and its bytes."""
        file.seek(0)
        hasher, size = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
        digest = hasher.hexdigest()
        path = f"{self._root}/blobs/{digest}"
        if not self._fs.exists(path):
            self._fs.makedirs(f"{self._root}/blobs", exist_ok=True)
            file.seek(0)
            with tempfile.NamedTemporaryFile() as local:
                shutil.copyfileobj(file, local, _CHUNK)
                local.flush()
                self._write(path, Path(local.name))
        return digest, size

    def holds_blob(self, digest: str) -> bool:
        """Whether there is such a blob."""
        return bool(self._fs.exists(f"{self._root}/blobs/{digest}"))

    def remove_blob(self, digest: str) -> None:
        """Take a blob out. One that is not there is no error. For what nobody refers to."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/blobs/{digest}")

    def blobs(self) -> list[str]:
        """The digests of all blobs."""
        return [name for name in self._names("blobs") if _DIGEST.fullmatch(name)]

    def folders(self) -> list[str]:
        """The digests of all folders, half-copied ones too."""
        return [name for name in self._names("adapters") if _DIGEST.fullmatch(name)]

    def put_at(self, kind: Literal["blob", "folder"], digest: str) -> float | None:
        """When something was last written to a blob or folder, in seconds since the epoch; None
        where nothing is."""
        if kind == "blob":
            paths = [f"{self._root}/blobs/{digest}"]
        else:
            paths = self._fs.find(self._folder(digest))
        with suppress(FileNotFoundError):
            return max((self._modified(path) for path in paths), default=None)
        return None

    def claim(self, name: str) -> float:
        """Say that a registry keeps things here; since when it does, in seconds since the epoch."""
        path = f"{self._root}/registries/{name}"
        if not self._fs.exists(path):
            self._fs.makedirs(f"{self._root}/registries", exist_ok=True)
            self._write(path, name.encode())
        return self._modified(path)

    def claims(self) -> list[str]:
        """The registries that keep things here."""
        return [name for name in self._names("registries") if not name.endswith(".tmp")]

    def remove_scraps(self, before: float) -> int:
        """Take out what killed writers left of half-written blobs before a time (seconds since the
        epoch); how many."""
        gone = 0
        for name in self._names("blobs"):
            path = f"{self._root}/blobs/{name}"
            with suppress(FileNotFoundError):
                if name.endswith(".tmp") and self._modified(path) < before:
                    self._fs.rm_file(path)
                    gone += 1
        return gone

    def pieces(self, digest: str) -> Iterator[bytes]:
        """A blob, a piece at a time. Raises ContentMissing at once, and ContentCorrupted in place
        of the last piece: whoever read the others has not got the whole."""
        try:
            file = self._fs.open(f"{self._root}/blobs/{digest}", "rb")
        except FileNotFoundError:
            raise ContentMissing(digest, self.url) from None
        return _verified(file, digest)

    def _names(self, below: str) -> list[str]:
        try:
            paths = self._fs.ls(f"{self._root}/{below}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(path).name for path in paths)

    def _modified(self, path: str) -> float:
        return float(self._fs.modified(path).timestamp())

    def _folder(self, digest: str) -> str:
        return f"{self._root}/adapters/{digest}"

    def _write(self, path: str, data: bytes | Path) -> None:
        """Write bytes or a local file, under another name first where the file system can rename
        in one step: somebody may be reading what another publisher of the same content wrote."""
        in_place = "file" not in _protocols(self._fs)  # an object store's PUT is atomic
        scratch = path if in_place else f"{path}.{os.getpid()}-{threading.get_ident()}.tmp"
        if isinstance(data, Path):
            self._fs.put_file(str(data), scratch)
        else:
            self._fs.pipe_file(scratch, data)
        if not in_place:
            os.replace(scratch, path)


def _verified(file: IO[bytes], digest: str) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    with file:
        piece = file.read(_CHUNK)
        while piece:
            hasher.update(piece)
            following = file.read(_CHUNK)
            if not following and hasher.hexdigest() != digest:
                raise ContentCorrupted(f"blobs/{digest[:12]}…", digest, hasher.hexdigest())
            yield piece
            piece = following


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and name not in ("", ".", MANIFEST) and "\0" not in name


def _is_whole(folder: Path, files: dict[str, str]) -> bool:
    try:
        return folder.is_dir() and folder_manifest(folder) == files
    except FileNotFoundError:  # it is being replaced at this moment
        return False


def _protocols(fs: Any) -> tuple[str, ...]:
    protocol = fs.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
