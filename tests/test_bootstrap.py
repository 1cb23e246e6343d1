from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import clipfuse.bootstrap as bootstrap
from clipfuse.bootstrap import bootstrap_intervals, draw_weights, paired_difference, weighted_scores
from clipfuse.choose import choose
from clipfuse.metrics import METRICS, evaluate


def table(rows=60, labels=5, seed=0, digits=None):
    rng = np.random.default_rng(seed)
    targets = rng.random((rows, labels)) < np.linspace(0.03, 0.6, labels)
    probabilities = 0.5 * rng.random((rows, labels)) + 0.5 * targets * rng.random((rows, labels))
    if digits is not None:
        probabilities = np.round(probabilities, digits)
    return probabilities, targets


def naive(probabilities, targets, thresholds, weights):
    """Every replicate scored by itself, on rows that are really repeated."""
    values = {name: [] for name in METRICS}
    for replicate in weights.T:
        rows = np.repeat(np.arange(len(targets)), replicate)
        scores = evaluate(probabilities[rows], targets[rows], thresholds, [str(i) for i in range(targets.shape[1])])
        for name in METRICS:
            value = getattr(scores, name)
            values[name].append(np.nan if value is None else value)
    return {name: np.array(column) for name, column in values.items()}


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("rows", [1, 4, 60])
def test_weighted_replicates_are_those_of_resampled_rows(rows, digits):
    probabilities, targets = table(rows, digits=digits, seed=rows)
    weights = draw_weights(rows, 40, np.random.default_rng(1))
    thresholds = np.linspace(0.3, 0.6, 5)
    expected = naive(probabilities, targets, thresholds, weights)
    found = weighted_scores(probabilities, targets, thresholds, weights)
    assert set(found) == set(METRICS)
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12, equal_nan=True, err_msg=name)


def test_rare_labels_are_left_out_of_the_replicates_that_lack_them():
    probabilities, targets = table(8, labels=3)
    targets[:] = False
    targets[2, 0] = targets[5, 1] = True
    weights = draw_weights(8, 200, np.random.default_rng(2))
    found = weighted_scores(probabilities, targets, 0.5, weights)["mean_average_precision"]
    np.testing.assert_allclose(found, naive(probabilities, targets, 0.5, weights)["mean_average_precision"], atol=1e-12)
    assert 0 < np.isnan(found).sum() < 200  # some replicates drew neither of the two rows
    interval = bootstrap_intervals(probabilities, targets, 0.5, seed=0)["mean_average_precision"]
    assert 0 < interval.low <= interval.high <= 1


def test_draws_are_resamples():
    weights = draw_weights(50, 400, np.random.default_rng(0))
    assert weights.shape == (50, 400)
    assert (weights.sum(axis=0) == 50).all()
    # A row is missed with probability (1 - 1/50)**50 = 0.364, and drawn once on average.
    assert (weights == 0).mean() == pytest.approx(0.364, abs=0.01)
    assert np.abs(weights.mean(axis=1) - 1).max() < 0.25


def bias_corrected(draws, value):
    """Efron (1981) by scipy: percentiles Φ(2z + z_α), where Φ(z) is the share of the draws below the value."""
    draws = draws[~np.isnan(draws)]
    same = np.abs(draws - value) < 1e-12
    z = norm.ppf(np.clip(((draws < value) & ~same).mean() + same.mean() / 2, 1 / (len(draws) + 1), None))
    return tuple(np.quantile(draws, norm.cdf(2 * z + norm.ppf([0.025, 0.975]))))


def test_intervals_are_the_replicates_bias_corrected_percentiles():
    probabilities, targets = table(150)
    intervals = bootstrap_intervals(probabilities, targets, 0.4, replicates=300, seed=7)
    weights = draw_weights(150, 300, np.random.default_rng(7))
    replicates = naive(probabilities, targets, 0.4, weights)
    scores = evaluate(probabilities, targets, 0.4, list("abcde"))
    assert list(intervals) == list(METRICS)
    for name, interval in intervals.items():
        assert interval.value == pytest.approx(getattr(scores, name), abs=1e-12)
        expected = bias_corrected(np.asarray(replicates[name]), interval.value)
        assert (interval.low, interval.high) == pytest.approx(expected)
        assert interval.low < interval.value < interval.high


def test_rare_labels_do_not_push_the_interval_of_map_above_the_score():
    rng = np.random.default_rng(5)
    targets, probabilities = rng.random((40, 8)) < 0.07, rng.random((40, 8))
    interval = bootstrap_intervals(probabilities, targets, 0.5, replicates=1000, seed=1)["mean_average_precision"]
    plain = weighted_scores(probabilities, targets, 0.5, draw_weights(40, 1000, np.random.default_rng(1)))
    low, middle, high = np.nanquantile(plain["mean_average_precision"], [0.025, 0.5, 0.975])
    assert middle > interval.value + 0.01  # why: the replicates lie above the score
    assert interval.low < low and interval.high < high
    assert interval.low < interval.value < interval.high


def test_the_seed_decides():
    probabilities, targets = table()
    first, again, other = (bootstrap_intervals(probabilities, targets, 0.5, replicates=50, seed=s) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_blocks_width_changes_nothing(monkeypatch):
    probabilities, targets = table(37)
    whole = bootstrap_intervals(probabilities, targets, 0.5, replicates=100, seed=0)
    for cells in (1, 7 * 37, 64 * 37):
        monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", cells * bootstrap._BYTES_A_CELL)
        narrow = bootstrap_intervals(probabilities, targets, 0.5, replicates=100, seed=0)
        for name in METRICS:
            assert (narrow[name].low, narrow[name].high) == pytest.approx(
                (whole[name].low, whole[name].high), abs=1e-12
            )


@pytest.mark.parametrize("rows", [1_500, 10_000, 200_000])
def test_blocks_bound_the_memory(rows):
    block = next(bootstrap._weight_blocks(rows, 1000, 0))
    assert block.size * bootstrap._BYTES_A_CELL <= 200e6


def test_only_the_metrics_asked_for():
    probabilities, targets = table()
    everything = bootstrap_intervals(probabilities, targets, 0.5, replicates=50, seed=0)
    some = bootstrap_intervals(probabilities, targets, 0.5, replicates=50, seed=0, metrics=("macro_f1",))
    assert some == {"macro_f1": everything["macro_f1"]}


def test_without_positives_map_has_no_interval():
    intervals = bootstrap_intervals(np.full((5, 2), 0.5), np.zeros((5, 2), bool), 0.6, replicates=20, seed=0)
    assert set(METRICS) - set(intervals) == {"mean_average_precision"}
    assert intervals["subset_accuracy"] == bootstrap.Interval(1.0, 1.0, 1.0)


def test_the_interval_covers_the_true_score():
    # Cells are drawn independently: P(true) = 0.3, predicted with 0.7 if true and 0.1 if not.
    tp, fp, fn = 0.3 * 0.7, 0.7 * 0.1, 0.3 * 0.3
    truth = {"micro_f1": 2 * tp / (2 * tp + fp + fn), "label_accuracy": 1 - fp - fn}
    rng = np.random.default_rng(11)
    covered = dict.fromkeys(truth, 0)
    for seed in range(150):
        targets = rng.random((200, 3)) < 0.3
        predicted = rng.random((200, 3)) < np.where(targets, 0.7, 0.1)
        intervals = bootstrap_intervals(
            predicted, targets, 0.5, replicates=200, seed=seed, metrics=("micro_f1", "label_accuracy")
        )
        for name, value in truth.items():
            covered[name] += intervals[name].low <= value <= intervals[name].high
    for name, times in covered.items():
        assert 0.88 <= times / 150 <= 0.99, name


@pytest.mark.parametrize("metric", METRICS)
def test_paired_difference_scores_both_on_the_same_rows(metric):
    a, targets = table(80, seed=1)
    b = np.clip(a + np.random.default_rng(2).normal(0, 0.3, a.shape), 0, 1)
    found = paired_difference(a, 0.4, b, 0.5, targets, metric, replicates=60, seed=9)
    weights = draw_weights(80, 60, np.random.default_rng(9))
    differences = naive(a, targets, 0.4, weights)[metric] - naive(b, targets, 0.5, weights)[metric]
    assert found.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])), abs=1e-12)
    names = [str(i) for i in range(5)]
    observed = getattr(evaluate(a, targets, 0.4, names), metric) - getattr(evaluate(b, targets, 0.5, names), metric)
    assert found.observed == pytest.approx(observed, abs=1e-12)
    assert found.low <= found.mean <= found.high


def test_a_model_does_not_differ_from_itself():
    probabilities, targets = table()
    assert paired_difference(probabilities, 0.5, probabilities, 0.5, targets, seed=0) == bootstrap.Difference(
        0, 0, 0, 0
    )


def test_unfit_arguments_are_refused():
    probabilities, targets = table()
    with pytest.raises(ValueError, match="replicates"):
        bootstrap_intervals(probabilities, targets, 0.5, replicates=0, seed=0)
    with pytest.raises(ValueError, match="f1, "):
        bootstrap_intervals(probabilities, targets, 0.5, seed=0, metrics=("f1",))
    with pytest.raises(ValueError, match="none"):
        bootstrap_intervals(probabilities, targets, 0.5, seed=0, metrics=())
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        bootstrap_intervals(probabilities * 3, targets, 0.5, seed=0)
    with pytest.raises(ValueError, match="no label has a positive"):
        paired_difference(
            probabilities, 0.5, probabilities, 0.5, np.zeros_like(targets), "mean_average_precision", seed=0
        )


def test_the_rule_for_empty_rows_is_that_of_the_scores():
    probabilities, targets = table(80)
    weights = draw_weights(80, 30, np.random.default_rng(0))
    filled = choose(probabilities, 0.8, empty_rows="most-probable")
    assert (filled != choose(probabilities, 0.8)).any()
    expected = naive(filled, targets, 0.5, weights)
    rule = {"empty_rows": "most-probable", "metrics": ("micro_f1", "samples_f1", "subset_accuracy")}
    for name, values in weighted_scores(probabilities, targets, 0.8, weights, **rule).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-12)
    found = bootstrap_intervals(probabilities, targets, 0.8, replicates=30, seed=0, **rule)
    assert found["micro_f1"].value == evaluate(filled, targets, 0.5, list("abcde")).micro_f1
    paired = {"replicates": 30, "seed": 0}
    gain = paired_difference(
        probabilities, 0.8, probabilities, 0.8, targets, **paired, empty_rows=("most-probable", "nothing")
    )
    assert gain == paired_difference(filled, 0.5, probabilities, 0.8, targets, **paired)
    assert gain.observed != 0
