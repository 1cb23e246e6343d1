from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse.metrics import METRICS, Scores, average_precision, evaluate


def names(labels):
    return [f"label {i}" for i in range(labels)]


def reference(probabilities, targets, thresholds):
    """The same numbers out of scikit-learn."""
    from sklearn import metrics as sk

    predicted = (probabilities >= thresholds).astype(int)
    truth = targets.astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = {
            f"{kind}_f1": sk.f1_score(truth, predicted, average=kind)
            for kind in ("micro", "macro", "samples", "weighted")
        }
        values["subset_accuracy"] = sk.accuracy_score(truth, predicted)
        values["label_accuracy"] = 1 - sk.hamming_loss(truth, predicted)
        per_label = sk.precision_recall_fscore_support(truth, predicted, average=None)
        ap = [
            sk.average_precision_score(truth[:, i], probabilities[:, i]) if targets[:, i].any() else None
            for i in range(targets.shape[1])
        ]
    known = [value for value in ap if value is not None]
    values["mean_average_precision"] = np.mean(known) if known else None
    return values, per_label, ap


def assert_agrees(probabilities, targets, thresholds):
    scores = evaluate(probabilities, targets, thresholds, names(targets.shape[1]))
    expected, (precision, recall, f1, support), ap = reference(probabilities, targets, thresholds)
    assert set(expected) == set(METRICS)
    for name, value in expected.items():
        assert getattr(scores, name) == (None if value is None else pytest.approx(value, abs=1e-12)), name
    assert scores.rows == len(targets)
    assert scores.labels_without_positives == int((~targets.any(axis=0)).sum())
    assert [label.name for label in scores.labels] == names(targets.shape[1])
    assert [label.precision for label in scores.labels] == pytest.approx(list(precision), abs=1e-12)
    assert [label.recall for label in scores.labels] == pytest.approx(list(recall), abs=1e-12)
    assert [label.f1 for label in scores.labels] == pytest.approx(list(f1), abs=1e-12)
    assert [label.support for label in scores.labels] == list(support)
    for label, value in zip(scores.labels, ap, strict=True):
        assert label.average_precision == (None if value is None else pytest.approx(value, abs=1e-12))


# Few distinct values: many ties, between cells and with the thresholds.
@st.composite
def tables(draw):
    rows, labels = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    cells = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
    probabilities = draw(arrays(np.float64, (rows, labels), elements=cells))
    targets = draw(arrays(bool, (rows, labels)))
    thresholds = draw(arrays(np.float64, labels, elements=cells))
    return probabilities, targets, thresholds


@settings(max_examples=50, deadline=None)
@given(tables())
def test_evaluate_agrees_with_scikit_learn(table):
    assert_agrees(*table)


@pytest.mark.parametrize("targets", ["mixed", "empty rows", "none", "all", "constant labels"])
@pytest.mark.parametrize("probabilities", ["random", "tied", "zeros", "ones", "float32"])
def test_evaluate_agrees_with_scikit_learn_on_larger_tables(targets, probabilities):
    rng = np.random.default_rng(5)
    truth = rng.random((200, 6)) < rng.uniform(0.05, 0.7, 6)
    p = rng.random((200, 6))
    if targets == "empty rows":
        truth[::2] = False
    elif targets == "constant labels":
        truth[:, 0], truth[:, 3] = False, True
    elif targets != "mixed":
        truth[:] = targets == "all"
    if probabilities == "tied":
        p = np.round(p, 1)
    elif probabilities == "float32":
        p = p.astype(np.float32).astype(np.float64)
    elif probabilities != "random":
        p[:] = probabilities == "ones"
    assert_agrees(p, truth, np.linspace(0.2, 0.8, 6))


def test_one_label_is_scored_as_one_label():
    targets = np.array([[1], [1], [0], [0]])
    scores = evaluate([[0.9], [0.4], [0.6], [0.1]], targets, 0.5, ["cat"])
    assert scores.micro_f1 == scores.macro_f1 == scores.weighted_f1 == 0.5
    assert scores.samples_f1 == 0.25
    assert scores.mean_average_precision == pytest.approx((1 + 2 / 3) / 2)


def test_a_probability_at_its_threshold_is_predicted():
    scores = evaluate([[0.5, 0.3]], [[True, True]], [0.5, 0.31], names(2))
    assert [label.recall for label in scores.labels] == [1.0, 0.0]


def test_the_rule_for_empty_rows():
    probabilities = np.array([[0.4, 0.3], [0.6, 0.1], [0.1, 0.2]])
    targets = np.array([[True, False], [True, False], [False, True]])
    plain = evaluate(probabilities, targets, 0.5, names(2))
    filled = evaluate(probabilities, targets, 0.5, names(2), empty_rows="most-probable")
    assert (plain.micro_f1, filled.micro_f1) == (0.5, 1.0)
    assert filled.mean_average_precision == plain.mean_average_precision


def test_float32_probabilities_are_not_rounded_toward_a_float64_threshold():
    just_below = np.array([[0.7]], dtype=np.float32)  # 0.699999988…
    assert evaluate(just_below, [[True]], 0.7, ["a"]).micro_f1 == 0.0


def test_conventions_for_nothing():
    scores = evaluate(np.zeros((3, 2)), np.zeros((3, 2), bool), 0.5, names(2))
    assert (scores.micro_f1, scores.macro_f1, scores.samples_f1, scores.weighted_f1) == (0, 0, 0, 0)
    assert (scores.subset_accuracy, scores.label_accuracy) == (1, 1)
    assert scores.mean_average_precision is None
    assert scores.labels_without_positives == 2


def test_a_label_without_positives_stays_in_macro_f1_and_leaves_map():
    probabilities = np.array([[0.9, 0.1], [0.1, 0.1]])
    targets = np.array([[True, False], [False, False]])
    scores = evaluate(probabilities, targets, 0.5, names(2))
    assert scores.macro_f1 == 0.5
    assert scores.mean_average_precision == 1.0
    assert scores.labels_without_positives == 1
    assert scores.labels[1].average_precision is None


def test_average_precision_takes_ties_together():
    assert average_precision([[0.5], [0.5], [0.2]], [[False], [True], [False]])[0] == 0.5
    assert np.isnan(average_precision([[0.5]], [[False]])[0])


@pytest.mark.parametrize("value", [-0.001, 1.001, np.nan, np.inf, -np.inf])
def test_what_is_no_probability_is_refused(value):
    probabilities = np.full((3, 2), 0.5)
    probabilities[1, 1] = value
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        evaluate(probabilities, np.zeros((3, 2), bool), 0.5, names(2))


@pytest.mark.parametrize(
    ("probabilities", "targets", "thresholds", "label_names", "words"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2)), 0.5, names(2), "no rows"),
        (np.zeros((2, 0)), np.zeros((2, 0)), 0.5, [], "no labels"),
        (np.zeros((2, 3)), np.zeros((2, 2)), 0.5, names(2), "the same"),
        (np.zeros(2), np.zeros(2), 0.5, names(2), "1-dimensional"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 0.5, names(3), "label names"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0.5, 0.5, 0.5], names(2), "thresholds"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0.5, np.nan], names(2), "thresholds"),
        (np.zeros((2, 2)), np.zeros((2, 2)), -0.1, names(2), "thresholds"),
        (np.zeros((2, 2)), np.full((2, 2), 2), 0.5, names(2), "0/1"),
        (np.full((2, 2), "a"), np.zeros((2, 2)), 0.5, names(2), "floats"),
    ],
)
def test_unfit_arguments_are_refused(probabilities, targets, thresholds, label_names, words):
    with pytest.raises(ValueError, match=words):
        evaluate(probabilities, targets, thresholds, label_names)


def some_scores():
    targets = np.array([[True, False], [False, False], [True, False]])
    return evaluate([[0.9, 0.6], [0.2, 0.1], [0.3, 0.2]], targets, 0.5, ["ключ", "b"])


def test_scores_survive_json():
    scores = some_scores()
    text = json.dumps(scores.to_dict(), allow_nan=False)
    assert Scores.from_dict(json.loads(text)) == scores


@pytest.mark.parametrize(
    "change",
    [
        {"micro_f1": None},
        {"micro_f1": "0.5"},
        {"rows": 3.5},
        {"rows": True},
        {"labels": None},
        {"labels": [{"name": "a"}]},
        {"labels": [3]},
        {"surprise": 1},
    ],
)
def test_other_content_is_not_read_as_scores(change):
    with pytest.raises(ValueError, match="scores"):
        Scores.from_dict(some_scores().to_dict() | change)


def test_a_missing_key_is_not_read_as_scores():
    values = some_scores().to_dict()
    del values["macro_f1"]
    with pytest.raises(ValueError, match="macro_f1"):
        Scores.from_dict(values)
