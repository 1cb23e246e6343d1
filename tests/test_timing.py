"""Measuring how fast a model predicts, on a clock that only the test moves."""

import json

import pytest
import torch

from clipfuse import timing
from clipfuse.streams import Streams
from clipfuse.timing import CAREFUL, Effort, Spread, Timing, repeat, spread, time_calls, time_prediction


@pytest.fixture
def clock(monkeypatch):
    """``clock(seconds)`` lets them pass."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_the_first_call_warms_up(clock):
    took = iter([5.0, 1.0, 2.0, 3.0, 99.0])
    assert repeat(lambda: clock(next(took)), seconds=60, most=3) == [1.0, 2.0, 3.0]


def test_it_ends_when_the_time_is_up(clock):
    calls = []
    assert repeat(lambda: (calls.append(1), clock(2.0)), seconds=5.0, most=100) == [2.0, 2.0]
    assert len(calls) == 3


def test_a_call_that_takes_all_the_time_is_the_only_one(clock):
    assert repeat(lambda: clock(7.0), seconds=5.0, most=100) == [7.0]


def test_careful_ones_warm_up_and_repeat_however_long_it_takes(clock):
    took = iter([9.0, 7.0, 8.0, 6.0])
    assert repeat(lambda: clock(next(took)), seconds=5.0, most=15, least=3) == [7.0, 8.0, 6.0]
    took = iter([9.0, 7.0, 8.0, 6.0] * 2)
    found = time_calls(lambda: clock(next(took)), lambda: clock(next(took)), 10, CAREFUL)
    assert (found.latency_ms.repeats, found.rows_per_second.repeats) == (3, 3)


def test_median_and_quartiles():
    assert spread([4.0, 1.0, 2.0, 3.0, 100.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0, 1)


class Predictor:
    """Takes a second, and one more for each row."""

    def __init__(self, clock):
        self.clock = clock

    def probabilities(self, streams):
        self.clock(1.0 + len(streams))


def test_one_row_and_many(clock, monkeypatch):
    streams = Streams({"image": torch.zeros(9, 1, 2)}, {"image": torch.ones(9, dtype=torch.bool)})
    monkeypatch.setattr(timing, "FEWEST_ROWS", 9)
    found = time_prediction(Predictor(clock), streams, Effort(seconds=1000, passes=2, calls=4))
    assert found == Timing(Spread(2000.0, 2000.0, 2000.0, 4), Spread(0.9, 0.9, 0.9, 2), 9)
    monkeypatch.setattr(timing, "FEWEST_ROWS", 19)  # a few rows are taken again
    again = time_prediction(Predictor(clock), streams, Effort(seconds=1000, passes=2, calls=4))
    assert again.rows == 19 and again.rows_per_second.median == 19 / 20
    assert Timing.from_dict(json.loads(json.dumps(found.to_dict()))) == found
