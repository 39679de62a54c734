"""Pages: every row once, whatever the size of the page, on both databases."""

from __future__ import annotations

import io

import pytest

from registry import Registry
from registry.errors import NotFound, TooManyJobs
from tests.registry.making import make_job


def test_files_and_jobs_come_a_page_at_a_time(registry: Registry) -> None:
    registry.tenants.create("acme")
    files = [registry.upload("acme", "a.jsonl", b"rows") for _ in range(3)]
    jobs = [make_job(registry) for _ in range(3)]
    seen: list[str] = []
    more, after = True, None
    while more:
        page, more = registry.files.page("acme", after=after, limit=2, newest_first=False)
        seen += [file.id for file in page]
        after = seen[-1]
    assert seen == files
    first, more = registry.jobs.page("acme", limit=2)
    rest, over = registry.jobs.page("acme", after=first[-1].id, limit=2)
    assert [job.id for job in (*first, *rest)] == jobs[::-1]
    assert (more, over) == (True, False)
    with pytest.raises(NotFound):
        registry.jobs.latest_events(jobs[0], after="ftevent-unknown")


def test_a_tenant_has_only_so_many_jobs_under_way(registry: Registry) -> None:
    registry.tenants.create("acme")
    job = registry.jobs.enqueue("acme", "tickets", "file-1", most_active=1)
    assert registry.jobs.using("acme", "file-1") is not None
    with pytest.raises(TooManyJobs):
        registry.jobs.enqueue("acme", "tickets", "file-1", most_active=1)
    registry.jobs.cancel(job.id)
    assert registry.jobs.using("acme", "file-1") is None
    registry.jobs.enqueue("acme", "tickets", "file-1", most_active=1)


def test_a_stream_is_kept_as_the_same_blob(registry: Registry) -> None:
    digest, size = registry.store.put_stream(io.BytesIO(b"rows"))
    assert (digest, size) == (registry.store.put_blob(b"rows"), 4)
    assert b"".join(registry.store.pieces(digest)) == b"rows"
