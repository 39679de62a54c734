"""Limits that several processes share: no place is given twice, and no kill keeps one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.book import Books
from router.errors import RateLimited
from router.limits import MemoryLimits, open_limits
from router.redis_limits import RedisLimits
from router.settings import RouterSettings
from router.shared_limits import _BUSY, _USED, SharedBooks, _SharedBook

ROOT = Path(__file__).parents[2]
METRICS = Metrics()
METRICS.know_tenants(["acme", "lex"])
SEATS = 4
DAY = 20_000
"""Of the clocks here: limits don't refill and midnight doesn't come."""

WORKER = """
import os, sys
from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.errors import RateLimited
from router.limits import MemoryLimits
from router.shared_limits import SharedBooks

METRICS = Metrics()
METRICS.know_tenants(["acme"])
seats, seat, file, *report = map(int, sys.argv[1:])
books = SharedBooks(file, seats)
at = books.at(seat)
limits = MemoryLimits(METRICS, books=at, monotonic=lambda: 1e6, wall=lambda: 86400 * 20000.0)
held = []

def take(tenant, tokens=1):
    try:
        held.append(limits.take(tenant, tokens))
    except RateLimited:
        return False
    return True

def settle(tokens):
    limits.settle(held.pop(), tokens)

for line in sys.stdin:
    exec(line.replace(";;", chr(10)))
    print("done", flush=True)
"""


class Worker:
    """A real process that writes the books; does what it is told, one program a line."""

    def __init__(self, books: SharedBooks, seat: int, report: int | None) -> None:
        self.seat = seat
        files = [books.file] if report is None else [books.file, report]
        arguments = [sys.executable, "-c", WORKER, *map(str, [SEATS, seat, *files])]
        self.process = subprocess.Popen(
            arguments, cwd=ROOT, pass_fds=files, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def tell(self, program: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(program.replace("\n", ";;") + "\n")
        self.process.stdin.flush()

    def hear(self) -> list[str]:
        """What it said until it was done."""
        assert self.process.stdout
        heard = []
        for line in self.process.stdout:
            if line == "done\n":
                return heard
            heard.append(line.strip())
        raise AssertionError(f"the worker ended: {heard}")

    def do(self, program: str) -> list[str]:
        self.tell(program)
        return self.hear()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()


Start = Callable[..., list[Worker]]


@pytest.fixture
def books() -> Iterator[SharedBooks]:
    """As the parent has them."""
    books = SharedBooks.create(SEATS)
    yield books
    books.close()


@pytest.fixture
def start(books: SharedBooks) -> Iterator[Start]:
    """Workers in these seats, all of which are ready."""
    started: list[Worker] = []

    def start(*seats: int, report: int | None = None) -> list[Worker]:
        found = [Worker(books, seat, report) for seat in seats]
        started.extend(found)
        for worker in found:
            worker.do("pass")
        return found

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.kill()


def written(books: SharedBooks, tenant: str = "acme") -> memoryview[float]:
    return books._find(tenant)


def busy(books: SharedBooks, tenant: str = "acme") -> list[int]:
    """Requests under way, by seat."""
    return [int(number) for number in written(books, tenant)[_BUSY:].tolist()]


def opened(books: Books, now: float = 1e6, day: float = DAY) -> MemoryLimits:
    return MemoryLimits(METRICS, books=books, monotonic=lambda: now, wall=lambda: 86_400.0 * day)


def let_in(limits: MemoryLimits, tenant: Tenant, tokens: int = 1) -> bool:
    try:
        limits.take(tenant, tokens)
    except RateLimited:
        return False
    return True


@pytest.mark.parametrize(
    ("limit", "tokens"),
    [("requests_per_minute", 1), ("tokens_per_minute", 2), ("tokens_per_day", 2)],
)
def test_workers_together_let_in_what_the_limit_allows_and_not_one_more(
    start: Start, limit: str, tokens: int
) -> None:
    workers = start(*range(SEATS))
    asking = f"""
tenant = Tenant(name="acme", {limit}={4000 * tokens})
print(sum(take(tenant, {tokens}) for _ in range(2000)))"""
    for worker in workers:
        worker.tell(asking)
    counts = [int(worker.hear()[0]) for worker in workers]
    assert sum(counts) == 4000


def test_what_is_settled_at_once_by_all_adds_up(books: SharedBooks, start: Start) -> None:
    workers = start(*range(SEATS))
    using = """
tenant = Tenant(name="acme", tokens_per_day=10**9, tokens_per_minute=6 * 10**7)
for number in range(1000):
    take(tenant, 50)
    settle(number)"""
    for worker in workers:
        worker.tell(using)
    for worker in workers:
        worker.hear()
    total = SEATS * sum(range(1000))
    assert written(books)[_USED] == total
    assert busy(books) == [0] * SEATS
    tenant = Tenant(name="acme", tokens_per_minute=6 * 10**7)
    headers = dict(opened(books.at(0)).take(tenant, 1).headers)
    assert abs(6 * 10**7 - total - int(headers[b"x-ratelimit-remaining-tokens"])) <= 2


def test_never_are_more_under_way_at_once_than_allowed(start: Start, tmp_path: Path) -> None:
    workers = start(*range(SEATS))
    entering = f"""
tenant, times = Tenant(name="acme", max_concurrent=1), 0
while times < 100:
    if take(tenant):
        os.mkdir({str(tmp_path / "inside")!r})
        os.rmdir({str(tmp_path / "inside")!r})
        settle(1)
        times += 1"""
    for worker in workers:
        worker.tell(entering)
    for worker in workers:
        worker.hear()  # mkdir fails where somebody is inside


def test_a_killed_workers_places_come_free_and_the_others_stay(
    books: SharedBooks, start: Start
) -> None:
    tenant = Tenant(name="acme", max_concurrent=5)
    killed, other = start(0, 1)
    killed.do("tenant = Tenant(name='acme', max_concurrent=5); [take(tenant) for _ in range(3)]")
    other.do("tenant = Tenant(name='acme', max_concurrent=5); take(tenant)")
    killed.do("take(Tenant(name='lex'))")  # it has no limit; it may get one
    killed.kill()
    assert busy(books) == [3, 1, 0, 0]
    books.clear(killed.seat)
    assert busy(books) == [0, 1, 0, 0]
    assert busy(books, "lex") == [0, 0, 0, 0]
    limits = opened(books.at(2))
    assert [let_in(limits, tenant) for _ in range(5)] == [True] * 4 + [False]
    other.do("settle(1)")
    assert let_in(limits, tenant)


def test_a_worker_killed_with_the_lock_in_its_hand_holds_nobody_up(
    books: SharedBooks, start: Start
) -> None:
    holding, other = start(0, 1)
    holding.do("books._lock.__enter__()")
    looking = os.open(f"/proc/self/fd/{books.file}", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other.tell("print(take(Tenant(name='acme', requests_per_minute=1)))")
    books.clear(2)  # the parent waits for nobody
    holding.kill()
    assert other.hear() == ["True"]
    os.close(looking)


def test_the_time_is_asked_where_nobody_else_can_write_a_later_one(books: SharedBooks) -> None:
    looking = os.open(f"/proc/self/fd/{books.file}", os.O_RDWR)

    def clock() -> float:
        with pytest.raises(BlockingIOError):
            fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return 1e6

    limits = MemoryLimits(METRICS, books=books.at(0), monotonic=clock, wall=clock)
    tenant = Tenant(name="acme", tokens_per_minute=100, tokens_per_day=100)
    limits.settle(limits.take(tenant, 10), 10)
    assert let_in(limits, tenant)
    fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(looking)


def test_a_kill_at_any_moment_costs_one_reservation_at_most(
    books: SharedBooks, start: Start
) -> None:
    kills, told = 4, 0
    (other,) = start(1)
    other.do("tenant = Tenant(name='acme', tokens_per_day=10**9, max_concurrent=10**6)")
    for _ in range(kills):
        reading, writing = os.pipe()
        (worker,) = start(0, report=writing)
        os.close(writing)
        worker.tell("""
tenant = Tenant(name="acme", tokens_per_day=10**9, max_concurrent=10**6)
while take(tenant, 1):
    settle(1)
    os.write(report[0], b".")""")
        other.tell("for _ in range(500): take(tenant, 1); settle(1)")
        told += len(os.read(reading, 100))
        worker.process.kill()
        other.hear()
        worker.end()
        books.clear(0)
        while more := os.read(reading, 65536):
            told += len(more)
        os.close(reading)
    lost = written(books)[_USED] - told - kills * 500
    assert 0 <= lost <= kills
    assert busy(books) == [0] * SEATS


class Killed(BaseException):
    """As far as the process came."""


class Dying:
    """A record's numbers, of a process that is killed after so many were written."""

    def __init__(self, numbers: memoryview[float], writes: int) -> None:
        self.numbers, self.writes = numbers, writes

    def tolist(self) -> list[float]:
        return self.numbers.tolist()

    def __getitem__(self, index: int) -> float:
        return self.numbers[index]

    def __setitem__(self, index: int, value: float) -> None:
        if not self.writes:
            raise Killed
        self.writes -= 1
        self.numbers[index] = value


@pytest.mark.parametrize("writes", range(5))
def test_half_a_reservation_is_less_than_one_and_never_yesterdays_day(
    books: SharedBooks, writes: int
) -> None:
    tenant = Tenant(name="acme", tokens_per_day=100, tokens_per_minute=100, requests_per_minute=10)
    yesterday = opened(books.at(0), now=1e6, day=DAY - 1)
    yesterday.settle(yesterday.take(tenant, 90), 90)
    books.at(1)
    assert books._lock is not None
    dying: Any = Dying(written(books), writes)
    killed = opened(lambda _tenant: _SharedBook(dying, _BUSY + 1, books._lock), now=2e6)  # type: ignore[arg-type]
    with pytest.raises(Killed):
        killed.take(tenant, 10)
    books.clear(1)
    left = opened(books.at(0), now=2e6)
    assert let_in(left, tenant, 90)
    assert [let_in(left, Tenant(name="acme", requests_per_minute=10)) for _ in range(8)] == [
        True
    ] * 8
    assert sum(busy(books)) == 9


def test_every_tenant_has_a_record_that_all_find(books: SharedBooks) -> None:
    names = [f"tenant-{number}" for number in range(1000)]
    one, other = SharedBooks(os.dup(books.file), SEATS), SharedBooks(os.dup(books.file), SEATS)
    first, second = opened(one.at(0)), opened(other.at(1))
    for number, name in enumerate(names):
        tenant = Tenant(name=name, max_concurrent=1)
        asked, refused = (first, second) if number % 2 else (second, first)
        assert let_in(asked, tenant)
        assert not let_in(refused, tenant)
    books.clear(0)
    late = SharedBooks(os.dup(books.file), SEATS)
    limits = opened(late.at(2))
    for number, name in enumerate(names):
        assert let_in(limits, Tenant(name=name, max_concurrent=1)) == (number % 2 == 1)
    for opening in (one, other, late):
        opening.close()


def test_a_name_that_a_killed_worker_did_not_finish_is_nobodys(books: SharedBooks) -> None:
    let_in(opened(books.at(0)), Tenant(name="acme", max_concurrent=1))
    books._record(2)[:16] = b"half of a name.."  # not counted yet
    other = SharedBooks(os.dup(books.file), SEATS)
    assert let_in(opened(other.at(1)), Tenant(name="lex", max_concurrent=1))
    assert not let_in(opened(books.at(0)), Tenant(name="lex", max_concurrent=1))
    assert not let_in(opened(other.at(1)), Tenant(name="acme", max_concurrent=1))
    other.close()


def test_the_largest_parent_has_room_for_its_seats() -> None:
    books = SharedBooks.create(64)
    limits = [opened(books.at(seat)) for seat in range(64)]
    for name in ("acme", "lex"):
        tenant = Tenant(name=name, max_concurrent=64)
        assert all(let_in(each, tenant) for each in limits)
        assert not any(let_in(each, tenant) for each in limits)
    books.close()


async def test_redis_wins_where_its_url_is_set(books: SharedBooks) -> None:
    settings = RouterSettings(redis_url="redis://127.0.0.1:1/0")
    limits = open_limits(settings, METRICS, books.at(0))
    assert isinstance(limits, RedisLimits)
    await limits.shutdown()
