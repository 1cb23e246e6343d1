"""Requests of several clients, predicted together by one thread."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Row = TypeVar("Row")
Answer = TypeVar("Answer")

_NEW = 0.2  # weight of the last batch in the mean of seconds


class QueueFull(Exception):
    """As many requests are under way as may be. ``retry_after``: seconds until there is likely room."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        self.waiting = waiting
        self.retry_after = retry_after
        super().__init__(f"{waiting} requests are under way")


class QueueClosed(Exception):
    """The server is stopping."""


@dataclass(eq=False)
class Job(Generic[Row, Answer]):
    """One request's rows, and where their answers come."""

    rows: Sequence[Row]
    answers: Future[list[Answer]] = field(default_factory=Future)


class BatchQueue(Generic[Row, Answer]):
    """A bounded queue in front of one thread that has the model.

    Args:
        work: rows -> as many answers. Called by the one thread; where it fails on several requests' rows, each
            request is tried alone, so that none fails because of another.
        waiting: requests that may be under way.
        batch_rows: rows of one call of ``work``; a request that has more comes alone.
        batch_seconds: how long the first request of a batch waits for others.
        on_batch: called with the rows of each batch and its seconds.
        begin: called by the one thread before anything else.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Row]], Sequence[Answer]],
        *,
        waiting: int,
        batch_rows: int,
        batch_seconds: float,
        on_batch: Callable[[int, float], None],
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        self._work = work
        self._most = waiting
        self._batch_rows = batch_rows
        self._batch_seconds = batch_seconds
        self._on_batch = on_batch
        self._begin = begin
        self._begun: Future[None] = Future()
        self._jobs: deque[Job[Row, Answer]] = deque()
        self._changed = threading.Condition()
        self._under_way = 0
        self._closed = False
        self._seconds_each = 0.02
        self._thread = threading.Thread(target=self._run, name="clipfuse-model", daemon=True)

    @property
    def under_way(self) -> int:
        """Requests that have a place."""
        return self._under_way

    @property
    def is_alive(self) -> bool:
        """Whether requests are being answered."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer; returns when ``begin`` is done, and raises what it raised."""
        self._thread.start()
        self._begun.result()

    def close(self, seconds: float) -> None:
        """Answer what is waiting, for so many seconds; what is left then fails with QueueClosed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(seconds)
        with self._changed:
            left = list(self._jobs)
            self._jobs.clear()
        for job in left:
            _fail(job, QueueClosed())

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request, from before its body is read until it is answered. Raises QueueFull."""
        with self._changed:
            if self._under_way >= self._most:
                raise QueueFull(self._under_way, max(1, math.ceil(self._under_way * self._seconds_each)))
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1

    def submit(self, rows: Sequence[Row]) -> Job[Row, Answer]:
        """At least one row, in line. Its future fails as the work does. Raises QueueClosed."""
        job: Job[Row, Answer] = Job(rows)
        with self._changed:
            if self._closed:
                raise QueueClosed
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def give_up(self, job: Job[Row, Answer]) -> None:
        """Take a job out of the line; one that is at work goes on."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
        job.answers.cancel()

    def _run(self) -> None:
        try:
            self._begin()
        except Exception as error:
            self._begun.set_exception(error)
            return
        self._begun.set_result(None)
        while batch := self._next():
            started = time.monotonic()
            self._answer(batch)
            seconds = time.monotonic() - started
            self._seconds_each += _NEW * (seconds / len(batch) - self._seconds_each)
            self._on_batch(sum(len(job.rows) for job in batch), seconds)

    def _next(self) -> list[Job[Row, Answer]]:
        """Jobs that have waited long enough, or are enough; none at the end."""
        batch: list[Job[Row, Answer]] = []
        with self._changed:
            while not batch:  # all of them may have been given up
                while not self._jobs:
                    if self._closed:
                        return []
                    self._changed.wait()
                until = time.monotonic() + self._batch_seconds
                while not self._is_enough() and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                rows = 0
                while self._jobs and (not batch or rows + len(self._jobs[0].rows) <= self._batch_rows):
                    job = self._jobs.popleft()
                    if job.answers.set_running_or_notify_cancel():
                        batch.append(job)
                        rows += len(job.rows)
        return batch

    def _is_enough(self) -> bool:
        """Nobody else can come, or no more fit."""
        if self._closed or len(self._jobs) >= self._under_way:
            return True
        return sum(len(job.rows) for job in self._jobs) >= self._batch_rows

    def _answer(self, batch: Sequence[Job[Row, Answer]]) -> None:
        try:
            answers = list(self._work([row for job in batch for row in job.rows]))
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for job in batch:
                self._answer([job])
            return
        for job in batch:
            job.answers.set_result(answers[: len(job.rows)])
            del answers[: len(job.rows)]


def _fail(job: Job[Row, Answer], error: Exception) -> None:
    try:
        job.answers.set_exception(error)
    except InvalidStateError:  # given up
        return
