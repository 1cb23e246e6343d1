"""The order of runs, the best of each column, and marks."""

from dataclasses import replace

import pytest

from clipfuse.bench import BenchGroup, BenchRow
from clipfuse.bench_cells import Cell, best_of, cell, sorted_by, trivial_text
from clipfuse.bench_columns import COLUMNS, USUAL, find_columns, usual_columns
from clipfuse.budget import Budget
from clipfuse.errors import UnknownName
from clipfuse.metrics import METRICS
from clipfuse.timing import Spread, Timing

BASE = BenchRow(
    name="20260131-120000-sum",
    kind="sum",
    encoders={"image": "mini/projected"},
    scores=dict.fromkeys(METRICS, 0.5),
    intervals={"micro_f1": [0.4, 0.6]},
    train_seconds=1.0,
    parameters=1000,
    head_bytes=4_000_000,
    encoder_bytes=90_000_000,
    device="cpu",
    machines={"training": "P, 2 cores"},
)


def timing(ms, low=None, high=None):
    return Timing(Spread(ms, low or ms, high or ms, 5), Spread(1e3 / ms, 1e3 / ms, 1e3 / ms, 5), 64)


def row(name, f1=0.5, **changes):
    return replace(BASE, name=name, scores={**BASE.scores, "micro_f1": f1}, **changes)


def group(*runs):
    return BenchGroup({"name": "s", "digest": "d"}, {"train": 1, "validation": 1, "test": 1}, (), runs)


def order(column, *runs):
    return [run.name for run in sorted_by(group(*runs), column).runs]


def test_best_first_by_any_column():
    runs = (
        row("a", 0.5, train_seconds=3.0, features=timing(2.0)),
        row("b", 0.7, train_seconds=9.0, features=timing(1.0)),
        row("c", 0.6, train_seconds=1.0, features=timing(4.0)),
    )
    assert order("micro-f1", *runs) == ["b", "c", "a"]
    assert order("train-s", *runs) == ["c", "a", "b"]
    assert order("latency-ms", *runs) == order("rows-s", *runs) == ["b", "a", "c"]
    assert order("run", *reversed(runs)) == ["a", "b", "c"]
    for column in COLUMNS:
        assert len(order(column, *runs)) == 3


def test_what_is_not_known_comes_last_and_another_machine_before_it():
    unknown, elsewhere = row("unknown"), row("elsewhere", features=timing(1.0), elsewhere=("features",))
    here = [row("slow", features=timing(5.0)), row("quick", features=timing(2.0))]
    assert order("latency-ms", unknown, elsewhere, *here) == ["quick", "slow", "elsewhere", "unknown"]
    assert order("micro-f1", elsewhere, *here) == ["elsewhere", "slow", "quick"]  # scores are the same anywhere


def test_a_name_that_is_none_has_a_near_one():
    with pytest.raises(UnknownName, match=r"unknown column 'mikro-f1'. Did you mean 'micro-f1'"):
        sorted_by(group(BASE), "mikro-f1")
    with pytest.raises(UnknownName, match=r"Did you mean 'total-mb'"):
        find_columns(["micro-f1", "total-md"])


def test_the_best_is_of_this_machine():
    latency = COLUMNS.get("latency-ms")
    others = [row("elsewhere", features=timing(ms, 0.9 * ms, 1.1 * ms), elsewhere=("features",)) for ms in (1.0, 2.0)]
    runs = [*others, row("a", features=timing(2.0)), row("b", features=timing(3.0)), row("c")]
    best = best_of(latency, runs)
    assert best == 2.0
    assert [cell(latency, run, best) for run in runs] == [
        Cell("1.00", "±10%", is_elsewhere=True),
        Cell("2.00", "±10%", is_elsewhere=True),
        Cell("2.00", "±0%", is_best=True),
        Cell("3.00", "±0%"),
        Cell("–"),
    ]
    assert best_of(latency, runs[:3]) is None  # one that can be compared is not the best of several
    assert best_of(COLUMNS.get("total-mb"), runs) is None  # they are all the same
    assert best_of(COLUMNS.get("kind"), runs) is None


def test_scores_have_their_interval_or_deviation():
    micro = COLUMNS.get("micro-f1")
    assert cell(micro, BASE, None) == Cell("0.500", "0.400–0.600")
    assert cell(micro, replace(BASE, deviations={"micro_f1": 0.01}), 0.5) == Cell("0.500", "±0.010", is_best=True)
    assert cell(micro, replace(BASE, deviations={"micro_f1": 0.0004}), None).beside == "0.400–0.600"  # no seed matters
    assert cell(micro, replace(BASE, deviations={"micro_f1": 0.0}, intervals={}), None).beside == "±0.000"
    trivial = {"scores": {"micro_f1": 0.25}, "intervals": {"micro_f1": [0.2, 0.3]}}
    assert trivial_text(trivial, micro) == "0.250 0.200–0.300"
    assert trivial_text(trivial, COLUMNS.get("train-s")) == "–"


def test_the_usual_columns_are_those_of_which_something_is_known():
    shown = [column.name for column in usual_columns([BASE, row("a", features=timing(2.0))])]
    assert shown == [name for name in USUAL if name in shown]
    assert {"micro-f1", "latency-ms", "total-mb"} <= set(shown)
    assert not {"end-to-end-ms", "stage1-s", "peak-mb"} & set(shown)


def test_a_budget():
    small, unknown = BASE, replace(BASE, encoder_bytes=None)
    assert [Budget(max_mb=limit).fits(small) for limit in (94.0, 93.9)] == [True, False]
    assert Budget(max_mb=100).fits(unknown) is None
    head = BASE.head_bytes / 1e6
    assert [Budget(max_mb=limit).fits(unknown) for limit in (head, head - 0.01)] == [None, False]
    quick = replace(BASE, features=timing(2.0), end_to_end=timing(15.0))
    assert [Budget(max_ms=limit).fits(quick) for limit in (15.0, 14.9)] == [True, False]
    from_features = replace(BASE, features=timing(2.0))  # a part of the whole: too slow is too slow
    assert [Budget(max_ms=limit).fits(from_features) for limit in (20.0, 1.0)] == [None, False]
    assert Budget(max_ms=20).fits(replace(quick, elsewhere=("end to end",))) is None
    assert Budget(max_mb=1, max_ms=20).fits(from_features) is False
    assert str(Budget(100, 20)) == "at most 100 MB in all and at most 20 ms end to end"
    assert not Budget()
