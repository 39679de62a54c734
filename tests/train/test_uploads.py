"""States on their way into the store."""

import errno
import json
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from registry import Registry
from registry.errors import ContentMissing
from train.uploads import Uploads, remove


class FullFileSystem(LocalFileSystem):
    """A local file system without room."""

    protocol = "full"

    def put_file(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")


class GatedFileSystem(LocalFileSystem):
    """A local file system that waits to be let on."""

    protocol = "gated"
    begun, gate = threading.Event(), threading.Event()

    def put_file(self, *arguments, **options):
        self.begun.set()
        assert self.gate.wait(30)
        super().put_file(*arguments, **options)


def state(folder, step):
    made = folder / f"step-{step}"
    made.mkdir()
    (made / "state.json").write_text(json.dumps({"step": step}))
    return made


@pytest.fixture
def job(sqlite_registry):
    sqlite_registry.tenants.create("acme")
    made = sqlite_registry.jobs.enqueue("acme", "tickets", "file-1")
    sqlite_registry.jobs.lease("one", 600)
    return made


def kept(registry, job):
    return registry.jobs.get(job.id).state_digest


def test_a_state_is_kept_and_the_one_before_it_removed(sqlite_registry, job, tmp_path):
    uploads = Uploads(sqlite_registry, job.id, "one", None)
    digests = []
    for step in (1, 2):
        folder = state(tmp_path, step)
        uploads.offer(folder)
        uploads.close(30)
        digests.append(kept(sqlite_registry, job))
        assert not folder.exists()
        uploads = Uploads(sqlite_registry, job.id, "one", digests[-1])
    assert json.loads(sqlite_registry.store.read(digests[1], "state.json")) == {"step": 2}
    with pytest.raises(ContentMissing):
        sqlite_registry.store.files(digests[0])


def test_states_that_come_while_one_is_on_its_way_give_way_to_the_latest(
    sqlite_registry, job, tmp_path
):
    fsspec.register_implementation("gated", GatedFileSystem, clobber=True)
    registry = Registry.open(sqlite_registry.database.url, f"gated://{tmp_path}/store")
    uploads = Uploads(registry, job.id, "one", None)
    folders = [state(tmp_path, step) for step in (1, 2, 3)]
    uploads.offer(folders[0])
    assert GatedFileSystem.begun.wait(30)
    uploads.offer(folders[1])
    uploads.offer(folders[2])
    assert not folders[1].exists(), "passed over"
    assert not uploads.idle
    GatedFileSystem.gate.set()
    uploads.close(30)
    digest = kept(sqlite_registry, job)
    assert json.loads(registry.store.read(digest, "state.json")) == {"step": 3}
    registry.close()


def test_a_full_store_costs_a_state_and_not_the_job(sqlite_registry, job, tmp_path):
    fsspec.register_implementation("full", FullFileSystem, clobber=True)
    registry = Registry.open(sqlite_registry.database.url, f"full://{tmp_path}/store")
    uploads = Uploads(registry, job.id, "one", None)
    folder = state(tmp_path, 1)
    uploads.offer(folder)
    uploads.close(30)
    assert kept(sqlite_registry, job) is None
    assert sqlite_registry.jobs.get(job.id).state == "running"
    assert not folder.exists()
    registry.close()


def test_a_worker_that_lost_the_job_leaves_no_state(sqlite_registry, job, tmp_path):
    sqlite_registry.jobs.release(job.id, "one")
    uploads = Uploads(sqlite_registry, job.id, "one", None)
    uploads.offer(state(tmp_path, 1))
    uploads.close(30)
    assert kept(sqlite_registry, job) is None
    root = sqlite_registry.store.url.removeprefix("file://")
    assert not [*Path(root).glob("adapters/*")]


def test_what_is_no_state_is_never_removed(sqlite_registry, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    digest = sqlite_registry.store.publish(folder)
    remove(sqlite_registry, digest)
    assert sqlite_registry.store.files(digest)
