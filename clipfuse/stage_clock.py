"""Where the time of stage one goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Wait = Literal["inputs", "disk"]
Seconds = tuple[float, float, float, float]
"""(total, encoding, inputs, disk): what another process can be told."""


class StageClock:
    """Seconds by what the encoder was doing: ``encoding``, waiting for ``inputs`` (reading, decoding, tokenizing),
    waiting for the ``disk``; ``total`` is the whole, with the little that is none of these.

    Threads that encode say so with :meth:`encoding_now`, the one that drives them with :meth:`waiting_for`; time in
    which any forward pass is under way counts as encoding, whatever else is waited for.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.encoding = 0.0
        self.inputs = 0.0
        self.disk = 0.0
        self._lock = threading.Lock()
        self._running = 0
        self._encoding = 0
        self._wait: Wait | None = None
        self._lap = 0.0
        self._since = time.perf_counter()

    @property
    def busy(self) -> float:
        """Share of the time in which the encoder had something to do, from 0 to 1."""
        return self.encoding / self.total if self.total else 0.0

    @property
    def bottleneck(self) -> Literal["encoder", "inputs", "disk"]:
        """What would have to be faster for the whole to be."""
        if max(self.inputs, self.disk) * 4 <= self.encoding:
            return "encoder"
        return "inputs" if self.inputs >= self.disk else "disk"

    def seconds(self) -> Seconds:
        """Where the time went so far."""
        return self.total, self.encoding, self.inputs, self.disk

    def lap(self) -> float:
        """Seconds of passes since this was last asked, or since the beginning."""
        with self._lock:
            self._advance()
            passed, self._lap = self.total - self._lap, self.total
        return passed

    def add(self, seconds: Seconds) -> None:
        """Add what another process was told by :meth:`seconds`: shares are then of all processes' time."""
        self.total, self.encoding, self.inputs, self.disk = (
            mine + theirs for mine, theirs in zip(self.seconds(), seconds, strict=True)
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """A pass is under way."""
        self._change(running=1)
        try:
            yield
        finally:
            self._change(running=-1)

    @contextmanager
    def encoding_now(self) -> Iterator[None]:
        """A forward pass is under way in this thread."""
        self._change(encoding=1)
        try:
            yield
        finally:
            self._change(encoding=-1)

    @contextmanager
    def waiting_for(self, what: Wait) -> Iterator[None]:
        """The driving thread has nothing to give to the encoder."""
        self._change(wait=what)
        try:
            yield
        finally:
            self._change()

    def _change(self, running: int = 0, encoding: int = 0, wait: Wait | None = None) -> None:
        with self._lock:
            self._advance()
            self._running += running
            self._encoding += encoding
            if not encoding:
                self._wait = wait

    def _advance(self) -> None:
        """Count the time up to now."""
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        if self._running:
            self.total += passed
            if self._encoding:
                self.encoding += passed
            elif self._wait == "inputs":
                self.inputs += passed
            elif self._wait == "disk":
                self.disk += passed
