"""The store: what comes out is what went in, or an error that names the file."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import AmbiguousDigest, ContentCorrupted, ContentMissing, UnsafeContent
from registry.store import MANIFEST, Store, canonical, folder_manifest, sha256_file
from tests.registry.making import digest_of, make_folder


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3."""
    moto_server = pytest.importorskip("moto.server", reason="moto speaks S3 for these tests")
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "file":
        return Store(f"file://{tmp_path}/store")
    name = uuid.uuid4().hex
    if request.param == "memory":
        return Store(f"memory://{name}")
    made = Store(
        f"s3://{name}/switchyard",
        key="key",
        secret="secret",
        endpoint_url=request.getfixturevalue("s3_endpoint"),
    )
    made._fs.mkdir(name)
    return made


# fsspec's memory:// has one read position for all threads: a store of one test, not of a platform.
shared_stores = pytest.mark.parametrize("store", ["file", "s3"], indirect=True)


def overwrite(store: Store, path: str, data: bytes) -> None:
    """Change an object behind the store's back."""
    store._fs.pipe_file(f"{store._root}/{path}", data)


def test_a_folder_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "adapter")
    digest = store.publish(folder)
    fetched = store.fetch(digest, tmp_path / "staging")
    assert fetched == tmp_path / "staging" / digest
    assert folder_manifest(fetched) == folder_manifest(folder) == store.files(digest)
    assert store.read(digest, "sub/probes.json") == b"{}"
    assert store.find(digest[:8]) == digest
    assert [*(tmp_path / "staging").iterdir()] == [fetched], "no scratch is left behind"


def test_a_digest_is_that_of_the_names_and_bytes_and_of_nothing_else(tmp_path: Path) -> None:
    one, two = (make_folder(tmp_path / name) for name in ("one", "two"))
    (two / "adapter_config.json").touch()
    first, second = Store(f"file://{tmp_path}/a"), Store(f"memory://{uuid.uuid4().hex}")
    digest = first.publish(one)
    assert second.publish(two) == digest
    assert digest == hashlib.sha256(canonical(folder_manifest(one))).hexdigest()
    (two / "adapter_config.json").rename(two / "adapter_config2.json")
    assert second.publish(two) != digest


def test_publishing_again_writes_nothing(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    folder = make_folder(tmp_path / "adapter")
    digest = store.publish(folder)
    kept = tmp_path / "store" / "adapters" / digest / MANIFEST
    before = kept.stat().st_mtime_ns
    assert store.publish(folder) == digest
    assert kept.stat().st_mtime_ns == before


def test_a_manifest_deeper_down_is_a_file_like_any_other(store: Store, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "adapter")
    (folder / MANIFEST).write_text("an old one")
    (folder / "sub" / MANIFEST).write_text("a file")
    digest = store.publish(folder)
    assert MANIFEST not in store.files(digest)
    assert store.read(digest, f"sub/{MANIFEST}") == b"a file"


def test_an_empty_folder_is_not_published(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no files to publish"):
        store.publish(tmp_path)


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "sub/probes.json"]
)
def test_one_flipped_bit_in_any_file_is_found_and_the_file_is_named(
    store: Store, tmp_path: Path, name: str
) -> None:
    folder = make_folder(tmp_path / "adapter")
    digest = store.publish(folder)
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    overwrite(store, f"adapters/{digest}/{name}", bytes(raw))
    for read in (
        lambda: store.read(digest, name),
        lambda: store.fetch(digest, tmp_path / "staging"),
    ):
        with pytest.raises(ContentCorrupted) as error:
            read()
        expected, found = sha256_file(folder / name), hashlib.sha256(raw).hexdigest()
        assert str(error.value) == (
            f"adapters/{digest[:12]}…/{name} is corrupted: its SHA-256 is {found[:12]}…, "
            f"its manifest says {expected[:12]}…"
        )
    assert [*(tmp_path / "staging").iterdir()] == [], "nothing of it is left to be used"


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_a_truncated_manifest_is_found(store: Store, tmp_path: Path, keep: int) -> None:
    digest = store.publish(make_folder(tmp_path / "adapter"))
    raw = canonical(store.files(digest))
    overwrite(store, f"adapters/{digest}/{MANIFEST}", raw[:keep])
    with pytest.raises(ContentCorrupted, match=f"{MANIFEST} is corrupted"):
        store.files(digest)
    with pytest.raises(ContentCorrupted, match=f"{MANIFEST} is corrupted"):
        store.fetch(digest, tmp_path / "staging")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../b", "..", "", ".", MANIFEST, "a\x00b"]
)
def test_a_manifest_that_points_outside_of_its_folder_is_refused(
    store: Store, tmp_path: Path, name: str
) -> None:
    manifest = canonical({name: digest_of(1)})
    digest = hashlib.sha256(manifest).hexdigest()
    store._fs.makedirs(f"{store._root}/adapters/{digest}", exist_ok=True)
    overwrite(store, f"adapters/{digest}/{MANIFEST}", manifest)
    with pytest.raises(UnsafeContent, match="is not safe to read: its manifest names"):
        store.fetch(digest, tmp_path / "staging")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "staging").exists()


def test_a_missing_file_or_folder_is_said_to_be_missing(store: Store, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "adapter"))
    with pytest.raises(ContentMissing, match=r"\(nothing.json\)"):
        store.read(digest, "nothing.json")
    store._fs.rm_file(f"{store._root}/adapters/{digest}/sub/probes.json")
    with pytest.raises(ContentMissing, match=r"\(sub/probes.json\)"):
        store.read(digest, "sub/probes.json")
    with pytest.raises(ContentMissing, match=r"\(sub/probes.json\)"):
        store.fetch(digest, tmp_path / "staging")
    with pytest.raises(ContentMissing):
        store.fetch(digest_of("unknown"), tmp_path / "staging")
    assert [*(tmp_path / "staging").iterdir()] == []


def test_a_damaged_local_copy_is_replaced(store: Store, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "adapter")
    digest = store.publish(folder)
    staging = tmp_path / "staging"
    fetched = store.fetch(digest, staging)
    (fetched / "adapter_model.safetensors").write_bytes(b"damaged")
    (fetched / "more").write_text("not in the manifest")
    assert folder_manifest(store.fetch(digest, staging)) == folder_manifest(folder)
    assert [*staging.iterdir()] == [fetched]


def test_a_whole_local_copy_is_left_as_it_is(store: Store, tmp_path: Path) -> None:
    """The engine may be reading it: a live adapter's files must not go, not for a moment."""
    digest = store.publish(make_folder(tmp_path / "adapter"))
    first = store.fetch(digest, tmp_path / "staging").stat().st_ino
    assert store.fetch(digest, tmp_path / "staging").stat().st_ino == first


@shared_stores
def test_many_who_fetch_at_once_all_get_the_one_whole_copy(store: Store, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "adapter", b"weights" * 100)
    digest, staging = store.publish(folder), tmp_path / "staging"

    def fetch(_: int) -> tuple[int, bool]:
        fetched = store.fetch(digest, staging)
        return fetched.stat().st_ino, folder_manifest(fetched) == folder_manifest(folder)

    with ThreadPoolExecutor(8) as pool:
        seen = {*pool.map(fetch, range(16))}
    assert len(seen) == 1, "one copy, never replaced under a reader"
    assert seen.pop()[1]
    assert [path.name for path in staging.iterdir()] == [digest]


@shared_stores
def test_many_who_publish_and_read_at_once_never_see_half_of_a_folder(
    store: Store, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "adapter", b"weights" * 100)
    expected = folder_manifest(folder)
    digest = hashlib.sha256(canonical(expected)).hexdigest()

    def publish(_: int) -> None:
        assert store.publish(folder) == digest

    def read(_: int) -> None:
        try:
            raw = store.read(digest, "adapter_model.safetensors")
        except ContentMissing:
            return  # not there yet, and so not visible
        assert hashlib.sha256(raw).hexdigest() == expected["adapter_model.safetensors"]

    with ThreadPoolExecutor(8) as pool:
        for work in [pool.submit(act, n) for n in range(12) for act in (publish, read)]:
            work.result()
    assert store.files(digest) == expected


def test_an_interrupted_publication_shows_nothing_and_can_be_done_again(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    folder = make_folder(tmp_path / "adapter")
    digest = hashlib.sha256(canonical(folder_manifest(folder))).hexdigest()
    obstacle = tmp_path / "store" / "adapters" / digest / "sub" / "probes.json"
    obstacle.mkdir(parents=True)  # the last file can't be written: it stops half-way
    with pytest.raises(IsADirectoryError):
        store.publish(folder)
    assert (tmp_path / "store" / "adapters" / digest / "adapter_config.json").exists()
    for look in (lambda: store.files(digest), lambda: store.find(digest[:12])):
        with pytest.raises(ContentMissing):
            look()
    obstacle.rmdir()
    assert store.publish(folder) == digest
    assert folder_manifest(store.fetch(digest, tmp_path / "staging")) == store.files(digest)


def test_a_removed_folder_is_gone_and_its_neighbour_is_not(store: Store, tmp_path: Path) -> None:
    gone = store.publish(make_folder(tmp_path / "adapter"))
    (tmp_path / "adapter" / "more").write_text("more")
    stays = store.publish(tmp_path / "adapter")
    store.remove(gone)
    store.remove(gone)  # once more is no error
    with pytest.raises(ContentMissing):
        store.files(gone)
    assert not store._fs.exists(f"{store._root}/adapters/{gone}")
    assert store.read(stays, "more") == b"more"


def test_a_prefix_finds_one_folder_or_says_why_not(store: Store) -> None:
    for digest in ("ab" * 32, "abcd" + "0" * 60):
        store._fs.makedirs(f"{store._root}/adapters/{digest}", exist_ok=True)
        overwrite(store, f"adapters/{digest}/{MANIFEST}", b"{}")
    assert store.find("abcd") == "abcd" + "0" * 60
    with pytest.raises(AmbiguousDigest, match="'ab' matches 2 objects: give more digits"):
        store.find("ab")
    for prefix in ("", "*", "?", "../", "AB", "ab*", "cd"):
        with pytest.raises(ContentMissing):
            store.find(prefix)


def test_a_blob_comes_back_as_it_was_or_not_at_all(store: Store) -> None:
    data = b"\x00\xff" * 1000
    digest = store.put_blob(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert store.put_blob(data) == digest
    assert store.blob(digest) == data
    overwrite(store, f"blobs/{digest}", data[:-1])
    with pytest.raises(ContentCorrupted, match=f"blobs/{digest[:12]}… is corrupted"):
        store.blob(digest)
    with pytest.raises(ContentMissing):
        store.blob(digest_of("unknown"))


@given(
    st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.none()).map(
        lambda value: (value, dict(reversed(value.items())))
    )
)
def test_one_value_has_one_canonical_form(values: tuple[object, object]) -> None:
    one, other = values
    try:
        assert canonical(one) == canonical(other)
    except UnicodeEncodeError:  # half of a surrogate pair: no UTF-8 for that
        return
    assert json.loads(canonical(one)) == one


def test_two_stores_share_no_content(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "adapter")
    digest = Store(f"file://{tmp_path}/a").publish(folder)
    with pytest.raises(ContentMissing):
        Store(f"file://{tmp_path}/b").files(digest)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert Store(f"file://{tmp_path}/b").files(digest) == folder_manifest(folder)


def test_what_is_in_a_store_is_listed_with_its_age_until_it_is_taken_out(
    store: Store, tmp_path: Path
) -> None:
    assert (store.blobs(), store.folders()) == ([], [])
    blob, folder = store.put_blob(b"a"), store.publish(make_folder(tmp_path / "adapter"))
    assert (store.blobs(), store.folders()) == ([blob], [folder])
    kinds: tuple[tuple[Literal["blob", "folder"], str], ...] = (("blob", blob), ("folder", folder))
    for kind, digest in kinds:
        put_at = store.put_at(kind, digest)
        assert put_at is not None and abs(put_at - time.time()) < 3600
        assert store.put_at(kind, digest_of("unknown")) is None
    store.remove_blob(blob)
    store.remove_blob(blob)  # once more is no error
    store.remove(folder)
    assert not store.holds_blob(blob)
    assert (store.blobs(), store.folders()) == ([], [])
