from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse.metrics import evaluate
from clipfuse.thresholds import tune_thresholds

F1 = ["micro_f1", "macro_f1", "samples_f1", "weighted_f1"]


def score(probabilities, targets, threshold, metric="micro_f1", **rule):
    return getattr(evaluate(probabilities, targets, threshold, [""] * targets.shape[1], **rule), metric)


def brute_force(probabilities, targets, metric="micro_f1", **rule):
    """Every cut scored by itself; the best score and, of the cuts that reach it, the distance to 0.5 of the nearest."""
    values = np.unique(np.concatenate([[0.0, 1.0], probabilities.ravel()]))
    cuts = (values[1:] + values[:-1]) / 2
    cuts = cuts[(cuts > 0) & (cuts < 1)]
    scores = np.array([score(probabilities, targets, cut, metric, **rule) for cut in cuts])
    best = cuts[scores >= scores.max() - 1e-12]
    return scores.max(), np.abs(best - 0.5).min()


@st.composite
def tables(draw):
    rows, labels = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    cells = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]) | st.integers(0, 1000).map(lambda i: i / 1000)
    return draw(arrays(np.float64, (rows, labels), elements=cells)), draw(arrays(bool, (rows, labels)))


@pytest.mark.parametrize("metric", F1)
@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_the_common_threshold_is_that_of_brute_force(metric, table):
    probabilities, targets = table
    assume(targets.any())
    found = tune_thresholds(probabilities, targets, mode="common", metric=metric)
    assert found.shape == (targets.shape[1],)
    assert len(set(found)) == 1
    assert 0 < found[0] < 1
    best, distance = brute_force(probabilities, targets, metric)
    assert score(probabilities, targets, found, metric) == pytest.approx(best, abs=1e-12)
    assert abs(found[0] - 0.5) == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("metric", F1)
@settings(max_examples=40, deadline=None)
@given(table=tables())
def test_the_common_threshold_is_the_best_one_under_the_rule_for_empty_rows(metric, table):
    probabilities, targets = table
    assume(targets.any())
    rule = {"empty_rows": "most-probable"}
    found = tune_thresholds(probabilities, targets, mode="common", metric=metric, **rule)
    assert 0 < found[0] < 1
    best, _ = brute_force(probabilities, targets, metric, **rule)
    assert score(probabilities, targets, found, metric, **rule) == pytest.approx(best, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_per_label_thresholds_are_shrunk_brute_force(table):
    probabilities, targets = table
    assume(targets.any())
    common = tune_thresholds(probabilities, targets, mode="common")
    found = tune_thresholds(probabilities, targets, mode="per-label")
    for i, positives in enumerate(targets.sum(axis=0)):
        if positives == 0:
            assert found[i] == common[i]
            continue
        weight = positives / (positives + 10)
        own = (found[i] - (1 - weight) * common[i]) / weight
        best, distance = brute_force(probabilities[:, [i]], targets[:, [i]])
        assert abs(own - 0.5) == pytest.approx(distance, abs=1e-9)
        # Away from the midpoint by rounding only: it scores what the best cut scores.
        nearby = [score(probabilities[:, [i]], targets[:, [i]], own + step) for step in (-1e-9, 1e-9)]
        assert max(nearby) == pytest.approx(best, abs=1e-12)


def test_known_thresholds():
    probabilities = np.array([[0.9, 0.2], [0.6, 0.3], [0.1, 0.8]])
    targets = np.array([[True, False], [True, False], [False, True]])
    assert tune_thresholds(probabilities, targets, mode="common").tolist() == [pytest.approx(0.45)] * 2
    per_label = tune_thresholds(probabilities, targets, mode="per-label")
    assert per_label == pytest.approx([2 / 12 * 0.35 + 10 / 12 * 0.45, 1 / 11 * 0.55 + 10 / 11 * 0.45])


def test_of_equal_scores_the_threshold_nearest_a_half():
    # Predicting the first cell (cut 0.85) and the first four (cut 0.45) both score 2/3.
    probabilities = np.array([[0.9], [0.8], [0.7], [0.6], [0.3]])
    targets = np.array([[True], [False], [False], [True], [False]])
    assert tune_thresholds(probabilities, targets, mode="common")[0] == pytest.approx(0.45)
    flipped = np.array([[0.6], [0.4], [0.3], [0.2], [0.1]])
    assert tune_thresholds(flipped, targets, mode="common")[0] == pytest.approx(0.5)


def test_without_positives_a_half():
    probabilities = np.random.default_rng(0).random((5, 2))
    for mode in ("common", "per-label"):
        assert tune_thresholds(probabilities, np.zeros((5, 2), bool), mode=mode).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_probabilities(value):
    found = tune_thresholds(np.full((4, 2), value), np.eye(4, 2, dtype=bool), mode="common")
    assert ((found > 0) & (found < 1)).all()
    assert (value >= found).all() == (value > 0)


def test_neighbouring_floats_are_still_cut_apart():
    high = 0.3
    low = np.nextafter(high, 0)
    found = tune_thresholds([[high], [low]], [[True], [False]], mode="common")
    assert low < found[0] <= high


def test_common_metrics_differ():
    rng = np.random.default_rng(0)
    targets = rng.random((60, 4)) < [0.6, 0.3, 0.05, 0.05]
    probabilities = np.clip(targets * 0.2 + rng.random((60, 4)) * [0.8, 0.5, 0.2, 0.2], 0, 1)
    assert len({tune_thresholds(probabilities, targets, mode="common", metric=metric)[0] for metric in F1}) > 1


@pytest.mark.parametrize("value", [-0.2, 1.2, np.nan])
@pytest.mark.parametrize("mode", ["common", "per-label"])
def test_logits_are_refused(value, mode):
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        tune_thresholds([[0.5], [value]], [[True], [False]], mode=mode)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="mode"):
        tune_thresholds([[0.5]], [[True]], mode="none")
    with pytest.raises(ValueError, match="metric"):
        tune_thresholds([[0.5]], [[True]], mode="common", metric="f1")
