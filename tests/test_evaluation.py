import json

import numpy as np
import pytest

from clipfuse.evaluation import score_calibration, score_rows, score_trivial, threshold_gain
from clipfuse.metrics import METRICS, evaluate
from clipfuse.trivial import trivial_rows

LABELS = ("a", "b", "c")


def data(rows=80):
    rng = np.random.default_rng(0)
    targets = rng.random((rows, 3)) < 0.4
    return np.clip(0.6 * targets + 0.4 * rng.random((rows, 3)), 0, 1), targets


def test_scores_with_intervals_as_json():
    found = score_rows(*data(), np.full(3, 0.5), LABELS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(METRICS) <= set(found["scores"])
    assert [label["name"] for label in found["scores"]["labels"]] == list(LABELS)
    for name, (low, high) in found["intervals"].items():
        assert low <= found["scores"][name] <= high


def test_the_same_rows_give_the_same_interval():
    assert score_rows(*data(), np.full(3, 0.5), LABELS) == score_rows(*data(), np.full(3, 0.5), LABELS)


def test_trivial_rows_are_scored_on_these_rows():
    _, targets = data()
    rows = trivial_rows(targets[:40], LABELS)
    found = score_trivial(rows, targets[40:], LABELS)
    assert [row["name"] for row in found] == [row.name for row in rows]
    assert found[0]["scores"]["micro_f1"] == 0
    most = targets[:40].sum(0).argmax()
    tp, positives = targets[40:, most].sum(), targets[40:].sum()
    assert found[1]["scores"]["micro_f1"] == pytest.approx(2 * tp / (40 + positives))
    json.dumps(found, allow_nan=False)


def test_what_thresholds_gain():
    probabilities, targets = data()
    low = probabilities / 2  # what is true lies about 0.4
    cut = np.full(3, 0.25)
    found = threshold_gain(low, targets, cut)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for metric in ("micro_f1", "macro_f1", "samples_f1"):
        gain = found[metric]
        scores = [getattr(evaluate(low, targets, at, LABELS), metric) for at in (cut, 0.5)]
        assert gain["observed"] == pytest.approx(scores[0] - scores[1], abs=1e-12)
        assert 0 < gain["low"] <= gain["mean"] <= gain["high"]
    assert threshold_gain(low, targets, np.full(3, 0.5))["micro_f1"]["observed"] == 0
    filled = threshold_gain(low, targets, np.full(3, 0.5), empty_rows="most-probable")
    assert filled["micro_f1"]["observed"] > 0


def test_the_rule_for_empty_rows_is_scored():
    probabilities, targets = data()
    cut = np.full(3, 0.99)
    found = score_rows(probabilities, targets, cut, LABELS, empty_rows="most-probable")
    assert found["scores"]["micro_f1"] > score_rows(probabilities, targets, cut, LABELS)["scores"]["micro_f1"]
    assert found["intervals"]["micro_f1"][0] <= found["scores"]["micro_f1"] <= found["intervals"]["micro_f1"][1]


def test_calibration_is_scored():
    targets = np.array([[True, False], [False, False]])
    found = score_calibration(np.array([[0.5, 0.0], [0.5, 0.0]]), targets)
    assert found == {"error": 0.0, "label_error": 0.0, "log_loss": pytest.approx(np.log(2) / 2)}
    worse = score_calibration(np.array([[0.9, 0.0], [0.9, 0.0]]), targets)
    assert worse["error"] == pytest.approx(0.2)
    assert worse["label_error"] == pytest.approx(0.2)
