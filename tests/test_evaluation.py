import json

import numpy as np
import pytest

from clipfuse.evaluation import score_rows, score_trivial
from clipfuse.metrics import METRICS
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
