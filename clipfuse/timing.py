"""Measuring how fast a model predicts: warmed up, several times, with the spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch: bench reads timings without it
    from clipfuse.predictor import Predictor
    from clipfuse.streams import Streams

MANY_ROWS = 8192
"""Rows that throughput is measured on, at most."""
FEWEST_ROWS = 512
"""Rows that it is measured on at least: fewer are taken again and again, or what a call costs would hide the rest."""


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing: their median, the quartiles around it, and how many they are."""

    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True)
class Timing:
    """How fast something predicts: milliseconds for one row (None of runs from before that was measured), rows per
    second for ``rows`` of them at once."""

    latency_ms: Spread | None
    rows_per_second: Spread
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Timing:
        """From what :meth:`to_dict` gave. Raises KeyError, TypeError where it is something else."""
        latency = value["latency_ms"]
        return cls(
            None if latency is None else Spread(**latency), Spread(**value["rows_per_second"]), int(value["rows"])
        )


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        seconds: of each of the two figures, about; the least repeats may take longer.
        passes: repeats over many rows, at most.
        calls: repeats with one row, at most.
        least: repeats after the call that warms up, however long they take; 0 where a single call may be all.
    """

    seconds: float
    passes: int
    calls: int
    least: int = 0


IN_PASSING = Effort(seconds=0.1, passes=3, calls=30)
"""After each training."""
CAREFUL = Effort(seconds=1.0, passes=15, calls=500, least=3)
"""Where timing is what was asked for."""


def time_prediction(predictor: Predictor, streams: Streams, effort: Effort) -> Timing:
    """From features in memory, on the device that they are on, to probabilities.

    Args:
        predictor: the model.
        streams: at least one row; many rows are these, one row is the first.
        effort: how much to measure.
    """
    import torch

    one = streams.rows(slice(0, 1))
    if len(streams) < FEWEST_ROWS:
        device = next(iter(streams.values.values())).device
        streams = streams.rows(torch.arange(FEWEST_ROWS, device=device) % len(streams))
    return time_calls(
        lambda: predictor.probabilities(one), lambda: predictor.probabilities(streams), len(streams), effort
    )


def time_calls(one: Callable[[], object], many: Callable[[], object], rows: int, effort: Effort) -> Timing:
    """Of two calls, of which one predicts a single row and the other ``rows`` of them."""
    latency = [seconds * 1e3 for seconds in repeat(one, effort.seconds, effort.calls, effort.least)]
    throughput = [rows / seconds for seconds in repeat(many, effort.seconds, effort.passes, effort.least)]
    return Timing(spread(latency), spread(throughput), rows)


def repeat(work: Callable[[], object], seconds: float, most: int, least: int = 0) -> list[float]:
    """Seconds of each call of ``work``, at most ``most`` and at least ``least``, until ``seconds`` have passed.

    The first call warms up and is left out, unless it took all the time that there was and ``least`` is 0.
    """
    found: list[float] = []
    began = started = time.perf_counter()
    while True:
        work()
        now = time.perf_counter()
        found.append(now - started)
        if (now - began >= seconds and len(found) > least) or len(found) > most:
            break
        started = time.perf_counter()
    return found[1:] or found


def spread(values: list[float]) -> Spread:
    """Of at least one value."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0], 0.0, values[0])
    return Spread(median(values), low, high, len(values))
