"""Which settings are tried."""

import sys

import pytest

from clipfuse.errors import ConfigError, TrainingError
from clipfuse.tune import parse_space
from clipfuse.tune.samplers import make_waves, score_of

MIXED = parse_space(
    "mixed", {"fit.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "head.hidden": [[8], [16]]}, "mixed"
)
STAGED = parse_space("staged", {"stages": [{"a": [1, 2, 3]}, {"b": [1, 2]}, {"a": [1, 5]}]}, "staged")


def run(waves, score):
    """All waves of a sampler."""
    found, points = [], next(waves)
    while True:
        found.append(points)
        try:
            points = waves.send([score(point) for point in points])
        except StopIteration:
            return found


def test_random_is_repeatable_and_more_trials_begin_with_fewer():
    few, many, other = (next(make_waves(None, MIXED, n, seed)) for n, seed in ((3, 0), (9, 0), (9, 1)))
    assert (len(few), len(many)) == (3, 9)
    assert many[:3] == few
    assert other != many
    assert len({point["fit.learning_rate"] for point in many}) == 9


def test_grid_is_everything():
    assert len(next(make_waves("grid", MIXED, 1, 0))) == 6


def test_stages_go_on_from_the_best_so_far():
    waves = run(make_waves(None, STAGED, 1, 0), lambda point: point["a"] % 3 + point.get("b", 0))
    assert waves == [
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [{"a": 2, "b": 1}, {"a": 2, "b": 2}],
        [{"a": 1, "b": 2}, {"a": 5, "b": 2}],
    ]


def test_stages_leave_out_what_could_not_be_trained():
    waves = run(make_waves(None, STAGED, 1, 0), lambda point: None if point["a"] == 2 else 1.0)
    assert waves[1] == [{"a": 1, "b": 1}, {"a": 1, "b": 2}]
    with pytest.raises(TrainingError, match="not one setting"):
        run(make_waves(None, STAGED, 1, 0), lambda point: None)


def test_stages_are_not_for_random():
    with pytest.raises(ConfigError, match="3 stages"):
        next(make_waves("random", STAGED, 5, 0))
    with pytest.raises(ConfigError, match="Did you mean 'random'"):
        make_waves("randm", MIXED, 5, 0)


def test_a_score_is_the_mean_and_needs_every_seed():
    assert score_of([0.25, 0.75]) == 0.5
    assert score_of([0.25, None]) is None


def test_optuna_is_repeatable_and_comes_near_the_best():
    pytest.importorskip("optuna")

    def score(point):
        return -abs(point["fit.learning_rate"] - 5e-3) - point["head.hidden"][0]

    first, again = (run(make_waves("optuna", MIXED, 18, 3), score) for _ in range(2))
    assert first == again
    assert [len(wave) for wave in first] == [4, 4, 4, 4, 2]
    assert all(1e-4 <= point["fit.learning_rate"] <= 1e-2 for wave in first for point in wave)


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"clipfuse\[tune\]"):
        make_waves("optuna", MIXED, 5, 0)
