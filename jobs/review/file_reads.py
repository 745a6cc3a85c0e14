"""Reads of several files of the home at once, for a page that does not wait long and is shown without what is missing.

A file that cannot be read is noted and skipped. When a store does not answer, nothing more is asked of it for a while:
each further file would take seconds until it fails, and the next page too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from jobs.dataset.stored_images import Unreadable, why_unreadable
from jobs.storage.faults import masked
from jobs.storage.places import Place

A = TypeVar("A")
R = TypeVar("R")

THREADS = 16
"""Files that are read at once. A disk needs fewer; a store takes as long for many as for one."""

MOST_SECONDS = 8.0
"""Longest time that one call reads, in seconds."""

REST_SECONDS = 30.0
"""How long nothing is asked of a store after it did not answer, in seconds."""


class FileReader:
    """Threads that read files, and whether the store answered lately; shared by all calls of a process."""

    def __init__(self, *, threads: int = THREADS, now: Callable[[], float] = time.monotonic) -> None:
        """Make a reader; threads start when they are needed.

        Args:
            threads: Files that are read at once.
            now: Returns the time in seconds.
        """
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
        self.now = now
        self.away_until = float("-inf")

    @contextmanager
    def call(self, seconds: float | None = None) -> Iterator[Reads]:
        """Begin the reads of one page.

        Args:
            seconds: Time in which they end; None for `MOST_SECONDS`. A store that does not answer in less is not left
                alone afterwards: the next page waits longer.
        """
        reads = Reads(self, MOST_SECONDS if seconds is None else seconds)
        yield reads
        if reads.away and seconds is None:
            self.away_until = self.now() + REST_SECONDS

    def close(self) -> None:
        """Start no further read; those in progress end by themselves."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class Reads:
    """The reads of one page.

    Attributes:
        first: Text of the first failure, for the log; empty without one.
        away: Whether the store did not answer; then nothing more is read.
    """

    def __init__(self, reader: FileReader, seconds: float) -> None:
        """Begin; the reader calls this."""
        self._reader, self._seconds, self._until = reader, seconds, reader.now() + seconds
        self._answered = False
        self.first = ""
        self.away = False

    def each(self, read: Callable[[Place, A], R], files: Mapping[Place, A]) -> list[R]:
        """Read files, several at once.

        Args:
            read: Reads one file, with what `files` has for it; runs in another thread.
            files: Maps each file or directory to the second argument of `read`.

        Returns:
            What `read` returned, in no order; without the files that cannot be read.

        Raises:
            Exception: An error of `read` that is a bug of this program.
        """
        found: list[R] = []
        if self.away or self._reader.now() < self._reader.away_until:
            self.fail("the store did not answer lately")
            return found
        jobs = {self._reader.pool.submit(read, file, argument): file for file, argument in files.items()}
        try:
            for job in as_completed(jobs, timeout=max(0.0, self._until - self._reader.now())):
                found += self._result(job, jobs[job])
                if self.away:
                    break
        except TimeoutError:
            self.fail(f"files were not read within {self._seconds:g} s")
            self.away = not self._answered
        finally:
            for job in jobs:
                job.cancel()
        return found

    def note(self, file: Place, why: Unreadable) -> None:
        """Note that a file, or a part of it, could not be read."""
        self.fail(f"{masked(file)}: {why.reason}")
        self.away = self.away or why.away

    def fail(self, text: str) -> None:
        """Note why a picture is missing; the first text goes to the log."""
        self.first = self.first or text

    def _result(self, job: Future[R], file: Place) -> list[R]:
        try:
            result = job.result()
        except Exception as error:
            why = why_unreadable(error, file)
            if why is None:
                raise  # a bug of this program
            self.note(file, why)
            return []
        self._answered = True
        return [result]
