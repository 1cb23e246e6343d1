"""The numbers behind the figures, beside scikit-learn's and clipfuse's own scores."""

import numpy as np
import pytest

from clipfuse.calibration import calibration_error
from clipfuse.metrics import evaluate
from clipfuse.report.curves import CUTS, co_occurrence, common_f1_at, label_f1_at, precision_recall, reliability


@pytest.fixture(scope="module")
def said():
    """(300, 4) probabilities with ties, and truth that goes with them."""
    rng = np.random.default_rng(0)
    probabilities = rng.random((300, 4)).round(2).astype(np.float32)
    return probabilities, rng.random((300, 4)) < probabilities**2


def test_precision_recall(said):
    from sklearn.metrics import precision_recall_curve

    probabilities, truth = said
    for label in range(4):
        found = precision_recall(probabilities[:, label], truth[:, label])
        precision, recall, thresholds = precision_recall_curve(truth[:, label], probabilities[:, label])
        np.testing.assert_allclose(found.precision[::-1], precision[:-1])
        np.testing.assert_allclose(found.recall[::-1], recall[:-1])
        np.testing.assert_allclose(found.thresholds[::-1], thresholds)


@pytest.mark.parametrize("rule", ["nothing", "most-probable"])
def test_f1_by_threshold(said, rule):
    probabilities, truth = said
    micro, macro = common_f1_at(probabilities, truth, rule)
    for place in (0, 24, 49, 98):
        scores = evaluate(probabilities, truth, CUTS[place], list("abcd"), empty_rows=rule)
        assert (micro[place], macro[place]) == (pytest.approx(scores.micro_f1), pytest.approx(scores.macro_f1))
        if rule == "nothing":
            own = [label_f1_at(probabilities[:, n], truth[:, n])[place] for n in range(4)]
            assert own == pytest.approx([label.f1 for label in scores.labels])


def test_f1_where_nothing_is_true_or_chosen():
    assert label_f1_at(np.array([0.2, 0.3]), np.array([False, False]), np.array([0.1, 0.9])).tolist() == [0, 0]


def test_reliability_adds_up_to_the_calibration_error(said):
    probabilities, truth = said
    found = reliability(probabilities, truth)
    gaps = np.abs(found.said - found.true) * found.cells
    assert found.cells.sum() == truth.size
    assert gaps.sum() / truth.size == pytest.approx(calibration_error(probabilities, truth))
    assert ((found.low <= found.true) & (found.true <= found.high)).all()


def test_wilsons_interval():
    found = reliability(np.full((10, 1), 0.5), np.arange(10)[:, None] < 2)
    assert (found.low[0], found.high[0]) == (pytest.approx(0.0567, abs=1e-4), pytest.approx(0.5098, abs=1e-4))


def test_co_occurrence():
    chosen = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)
    assert co_occurrence(chosen).tolist() == [[3, 2, 1], [2, 2, 1], [1, 1, 1]]
