"""The queue alone."""

import threading
from concurrent.futures import CancelledError

import pytest

from clipfuse.serve.batching import BatchQueue, QueueClosed, QueueFull


@pytest.fixture
def queue():
    """``queue(work, ...)`` -> a BatchQueue that has begun."""
    made = []

    def make(work, **options):
        given = {"waiting": 4, "batch_rows": 4, "batch_seconds": 0.0, "on_batch": lambda rows, seconds: None}
        made.append(BatchQueue(work, **{**given, **options}))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close(5)


def test_answers_come_to_who_asked(queue):
    sizes, hold = [], threading.Event()

    def work(rows):
        assert hold.wait(10)
        return [row * 10 for row in rows]

    line = queue(work, on_batch=lambda rows, _seconds: sizes.append(rows))
    jobs = [line.submit(rows) for rows in ([1], [2, 3], [4, 5, 6], [7], range(9))]
    hold.set()
    found = [job.answers.result(10) for job in jobs]
    assert found == [[10], [20, 30], [40, 50, 60], [70], [10 * n for n in range(9)]]
    line.close(5)
    assert sum(sizes) == 16 and max(sizes) == 9  # more than a batch has: alone


def test_the_first_waits_for_others_that_have_a_place(queue):
    sizes = []
    line = queue(list, batch_seconds=10, on_batch=lambda rows, _seconds: sizes.append(rows))
    with line.place():
        assert line.submit(["alone"]).answers.result(5) == ["alone"]  # nobody else can come
        with line.place():
            first = line.submit(["a"])
            second = line.submit(["b"])
            assert first.answers.result(5) == ["a"] and second.answers.result(5) == ["b"]
    line.close(5)  # sizes are noted after the answers
    assert sizes == [1, 2]


def test_places(queue):
    line = queue(list, waiting=1)
    with line.place():
        with pytest.raises(QueueFull) as full, line.place():
            pass
        assert full.value.waiting == 1 and full.value.retry_after >= 1
        assert line.under_way == 1
    with line.place():
        pass


def test_what_was_given_up_is_not_done(queue):
    done, hold = [], threading.Event()

    def work(rows):
        done.extend(rows)
        assert hold.wait(10)
        return rows

    line = queue(work, batch_rows=1)
    first, second, third = (line.submit([name]) for name in "abc")
    line.give_up(second)
    hold.set()
    assert first.answers.result(5) == ["a"] and third.answers.result(5) == ["c"]
    with pytest.raises(CancelledError):
        second.answers.result(5)
    assert done == ["a", "c"]


def test_closing_answers_what_waits(queue):
    hold = threading.Event()
    line = queue(lambda rows: rows if hold.wait(10) else [], batch_rows=1)
    jobs = [line.submit([n]) for n in range(3)]
    hold.set()
    line.close(5)
    assert [job.answers.result(0) for job in jobs] == [[0], [1], [2]]
    assert not line.is_alive
    with pytest.raises(QueueClosed):
        line.submit([1])


def test_closing_ends(queue):
    hold = threading.Event()
    line = queue(lambda rows: rows if hold.wait(10) else [], batch_rows=1)
    jobs = [line.submit([n]) for n in range(3)]
    line.close(0.05)
    with pytest.raises(QueueClosed):
        jobs[-1].answers.result(1)
    hold.set()


def test_what_fails_at_the_beginning_is_told(queue):
    with pytest.raises(RuntimeError, match="no"):
        queue(list, begin=lambda: (_ for _ in ()).throw(RuntimeError("no")))
