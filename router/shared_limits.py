"""Shared limits: the tenants' books that all workers of one parent write in.

The same limits as one process has (book.py), with the numbers in memory that the workers share: a
file without a name that their parent makes. Knows nothing of requests or of what a limit is.

    books = SharedBooks.create(seats=4)    # in the parent, once, kept over restarts of workers
    books.at(seat=1)                       # in a worker: where MemoryLimits gets a tenant's book
    books.clear(seat=1)                    # in the parent: that worker has ended

The file is pages of records, and a record is a digest of the tenant's name and then doubles: what
was taken of its minute and its day, and for each seat the requests under way. A tenant gets its
record with its first request, and keeps it: 48 bytes and 8 a seat. Record 0 says how many there
are.

A book is read, reckoned and written under one lock, so that no two workers take the same place. A
worker may be killed at any point of that. The kernel then opens the lock, and each number is either
the old or the new one, as eight aligned bytes are written at once. So what a kill can cost is that
one request's reservation was taken of some limits and not of others, or that one settlement is
missing in part. Places at once come back in any case: each seat's are a number of its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import mmap
import os

from router.admission import Admission, Terms
from router.book import UNLIMITED, Book, Books, Clock, OwnBook, Taken

_PAGE = 64 << 10
"""Bytes mapped at a time: a multiple of every page size in use."""
_DIGEST = 16
_REQUESTS, _TOKENS, _USED, _DAY, _BUSY = range(5)
"""What is where behind the digest; from _BUSY on a number for each seat."""


class SharedBooks:
    """The books of `seats` workers in `file`, a descriptor that closes with them. For one thread:
    the lock tells processes apart, and threads not."""

    def __init__(self, file: int, seats: int) -> None:
        self.file = file
        self._record_bytes = _DIGEST + 8 * (_BUSY + seats)
        self._pages: list[mmap.mmap] = []
        self._found: dict[bytes, int] = {}
        """Records by their digests, as far as this process has read."""
        self._lock: _Lock | None = None

    @classmethod
    def create(cls, seats: int) -> SharedBooks:
        """Empty ones. They are gone when the last process that has the file is."""
        books = cls(os.memfd_create("switchyard-limits"), seats)
        books._record(0)  # the file grows under the lock, and the parent takes none
        return books

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.file)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def at(self, seat: int) -> Books:
        """The books as the worker in this seat writes them."""
        lock = self._lock = self._lock or _Lock(self.file)

        def book(tenant: str) -> Book:
            with lock:
                return _SharedBook(self._find(tenant), _BUSY + seat, lock)

        return book

    def clear(self, seat: int) -> None:
        """Whoever sat here has ended, and its requests with it.

        Takes no lock: nobody else writes these numbers, and who holds it may be stopped for long.
        """
        for record in range(1, 1 + self._count()):
            self._numbers(record)[_BUSY + seat] = 0.0

    def _find(self, tenant: str) -> memoryview[float]:
        """The numbers of this tenant's record, a new one if it has none. Under the lock."""
        digest = hashlib.blake2b(tenant.encode(), digest_size=_DIGEST).digest()
        count = self._count()
        for record in range(1 + len(self._found), 1 + count):
            self._found[bytes(self._record(record)[:_DIGEST])] = record
        if digest not in self._found:
            # Counted last: until then it is nobody's, also if this process is killed.
            self._record(1 + count)[:_DIGEST] = digest
            self._numbers(0)[0] = 1.0 + count
            self._found[digest] = 1 + count
        return self._numbers(self._found[digest])

    def _count(self) -> int:
        return int(self._numbers(0)[0])

    def _numbers(self, record: int) -> memoryview[float]:
        return self._record(record)[_DIGEST:].cast("d")

    def _record(self, record: int) -> memoryview:
        number, index = divmod(record, _PAGE // self._record_bytes)
        while number >= len(self._pages):
            end = (len(self._pages) + 1) * _PAGE
            if os.fstat(self.file).st_size < end:
                os.ftruncate(self.file, end)
            self._pages.append(mmap.mmap(self.file, _PAGE, offset=end - _PAGE))
        at = index * self._record_bytes
        return memoryview(self._pages[number])[at : at + self._record_bytes]


class _SharedBook:
    """A tenant's record, as the worker whose requests under way are at `own` writes it."""

    __slots__ = ("_book", "_lock", "_numbers", "_own")

    def __init__(self, numbers: memoryview[float], own: int, lock: _Lock) -> None:
        self._numbers = numbers
        self._own = own
        self._lock = lock
        self._book = OwnBook()
        """What is reckoned with; it says nothing while the lock is open."""

    def take(self, terms: Terms, tokens: int, monotonic: Clock, wall: Clock) -> Taken:
        """See Book."""
        if terms.none:
            self._numbers[self._own] += 1.0  # this worker's alone: no lock
            return UNLIMITED
        with self._lock:
            # Clocks are asked in here too: an older time than another worker wrote by would make
            # a limit that is whole look a little taken.
            busy = self._read()
            taken = self._book.take(terms, tokens, monotonic, wall)
            if not taken[0]:
                self._write(busy)
            return taken

    def settle(self, admission: Admission, tokens: int | None, monotonic: Clock) -> None:
        """See Book."""
        if tokens is None or (not admission.token_s and admission.day < 0):
            self._numbers[self._own] -= 1.0
            return
        with self._lock:
            busy = self._read()
            self._book.settle(admission, tokens, monotonic)
            self._write(busy)

    def _read(self) -> int:
        """Fill the book; gives the requests under way."""
        book = self._book
        book.requests_whole_at, book.tokens_whole_at, used, day, *busy = self._numbers.tolist()
        book.used, book.day = int(used), int(day)
        book.busy = int(sum(busy))
        return book.busy

    def _write(self, busy: int) -> None:
        """Write the book down, which said `busy` when it was filled."""
        book, numbers = self._book, self._numbers
        numbers[self._own] += book.busy - busy
        numbers[_REQUESTS] = book.requests_whole_at
        numbers[_TOKENS] = book.tokens_whole_at
        # In this order: a kill in between must not make yesterday's tokens today's.
        numbers[_USED] = book.used
        numbers[_DAY] = book.day


class _Lock:
    """One process at a time. The kernel opens it when its holder ends, however that comes.

    flock(2) belongs to an open file and not to a process, and an inherited descriptor is its
    parent's open file: so this opens it anew. It is called with the GIL kept, as fcntl.flock is
    not: another thread would take the GIL and work on for up to 0.5 ms (Server.run), while this one
    holds the lock and does nothing. Taking the lock and leaving it costs 1.4 µs, and 3 µs beside a
    busy thread; by fcntl.flock 0.9 and 110 µs, by fcntl.lockf 1.3 and 230 µs.
    """

    def __init__(self, file: int) -> None:
        self._file = os.open(f"/proc/self/fd/{file}", os.O_RDWR)
        self._flock = ctypes.PyDLL(None).flock

    def __enter__(self) -> None:
        if self._flock(self._file, fcntl.LOCK_EX):
            # A signal came while it waited: this goes on waiting, and raises what else there is.
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)
