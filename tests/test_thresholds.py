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


class TestExpected:
    """The threshold of the highest expected micro-F1 if probabilities are right."""

    @settings(max_examples=60, deadline=None)
    @given(table=tables())
    def test_is_that_of_brute_force_over_expected_counts(self, table):
        probabilities, targets = table
        assume(probabilities.any())
        found = tune_thresholds(probabilities, targets, mode="expected")
        assert found.shape == (targets.shape[1],) and len(set(found)) == 1 and 0 < found[0] < 1

        def expected(cut):
            chosen = probabilities >= cut
            return 2 * probabilities[chosen].sum() / (chosen.sum() + probabilities.sum())

        values = np.unique(np.concatenate([[0.0, 1.0], probabilities.ravel()]))
        best = max(expected(cut) for cut in (values[1:] + values[:-1]) / 2 if 0 < cut < 1)
        assert expected(found[0]) == pytest.approx(best, abs=1e-9)

    def test_looks_at_no_targets(self):
        rng = np.random.default_rng(0)
        probabilities = rng.random((30, 4))
        found = {tune_thresholds(probabilities, rng.random((30, 4)) < 0.5, mode="expected")[0] for _ in range(3)}
        assert len(found) == 1

    def test_is_half_of_the_f1_that_it_gets(self):
        """Lipton et al., theorem 1, with very many cells."""
        probabilities = np.random.default_rng(0).beta(0.3, 1.2, size=(20_000, 5))
        cut = tune_thresholds(probabilities, probabilities > 0.5, mode="expected")[0]
        chosen = probabilities >= cut
        f1 = 2 * probabilities[chosen].sum() / (chosen.sum() + probabilities.sum())
        assert cut == pytest.approx(f1 / 2, abs=1e-3)

    def test_of_nothing_is_one_half(self):
        assert tune_thresholds(np.zeros((3, 2)), np.ones((3, 2), bool), mode="expected").tolist() == [0.5, 0.5]

    def test_loses_less_than_the_best_cut_where_rows_are_few(self):
        """Calibrated probabilities, 25 rows to choose by: what is lost on other rows."""
        rng = np.random.default_rng(1)
        probabilities = rng.beta(0.3, 1.2, size=(4000, 5))
        targets = rng.random((4000, 5)) < probabilities
        lost = {mode: [] for mode in ("expected", "common")}
        for start in range(0, 2000, 25):
            some = slice(start, start + 25)
            for mode, values in lost.items():
                cut = tune_thresholds(probabilities[some], targets[some], mode=mode)
                values.append(score(probabilities[2000:], targets[2000:], cut))
        assert np.mean(lost["expected"]) > np.mean(lost["common"]) + 0.005
