"""Where the time goes, on a clock that only the test moves."""

import pytest

from clipfuse import stage_clock
from clipfuse.stage_clock import StageClock


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stage_clock.time, "perf_counter", lambda: now[0])
    found = StageClock()
    found.pass_time = lambda seconds: now.__setitem__(0, now[0] + seconds)
    return found


def test_each_second_counts_once(clock):
    clock.pass_time(100)  # before the pass: nobody's
    with clock.running():
        clock.pass_time(1)
        with clock.waiting_for("inputs"):
            clock.pass_time(2)
        with clock.encoding_now():
            clock.pass_time(4)
        with clock.waiting_for("disk"):
            clock.pass_time(8)
    clock.pass_time(100)
    assert (clock.total, clock.inputs, clock.encoding, clock.disk) == (15, 2, 4, 8)
    assert clock.busy == 4 / 15
    assert clock.bottleneck == "disk"


def test_waiting_while_something_is_encoded_is_no_idleness(clock):
    """On a GPU two threads encode while a third waits for pictures."""
    with clock.running():
        first, second = clock.encoding_now(), clock.encoding_now()
        first.__enter__()
        with clock.waiting_for("inputs"):
            clock.pass_time(3)
            second.__enter__()
            clock.pass_time(1)
            first.__exit__(None, None, None)
            clock.pass_time(1)
            second.__exit__(None, None, None)
            clock.pass_time(2)
    assert (clock.total, clock.encoding, clock.inputs) == (7, 5, 2)
    assert clock.bottleneck == "inputs"


def test_two_passes_add_up(clock):
    for seconds in (1, 2):
        with clock.running(), clock.encoding_now():
            clock.pass_time(seconds)
        clock.pass_time(50)
    assert (clock.total, clock.encoding, clock.busy) == (3, 3, 1)
    assert clock.bottleneck == "encoder"


def test_nothing_ran():
    assert StageClock().busy == 0


def test_clocks_of_several_processes_add_up(clock):
    with clock.running(), clock.encoding_now():
        clock.pass_time(3)
    both = StageClock()
    both.add(clock.seconds())
    both.add((5, 1, 4, 0))
    assert both.seconds() == (8, 4, 4, 0)
    assert both.busy == 0.5 and both.bottleneck == "inputs"
