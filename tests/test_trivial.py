from __future__ import annotations

import numpy as np
import pytest

from clipfuse.metrics import evaluate
from clipfuse.trivial import THRESHOLD, trivial_rows

NAMES = ["cat", "dog", "person", "tree"]
#  frequencies: cat 1/5, dog 3/5, person 4/5, tree 1/5
TRAIN = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=bool)


def by_kind(rows, kind, k=None):
    return next(row for row in rows if row.kind == kind and row.k == k)


def test_rows_and_what_they_predict():
    rows = trivial_rows(TRAIN, NAMES)
    assert [row.name for row in rows] == [
        "no label",
        "most frequent label",
        "2 most frequent labels",
        "3 most frequent labels",
        "label prior",
    ]
    assert [row.labels for row in rows] == [
        (),
        ("person",),
        ("dog", "person"),
        ("cat", "dog", "person"),
        ("dog", "person"),
    ]
    assert by_kind(rows, "nothing").predict(2).tolist() == [[0, 0, 0, 0]] * 2
    assert by_kind(rows, "most-frequent", 2).predict(3).tolist() == [[0, 1, 1, 0]] * 3
    assert by_kind(rows, "prior").predict(1)[0] == pytest.approx([0.2, 0.6, 0.8, 0.2])
    assert all(row.predict(7).shape == (7, 4) and row.predict(7).dtype == np.float64 for row in rows)


def test_equal_frequencies_take_the_earlier_column():
    rows = trivial_rows(np.eye(3, dtype=bool), ["c", "b", "a"], ks=(1, 2))
    assert [row.labels for row in rows if row.kind == "most-frequent"] == [("c",), ("c", "b")]


def test_a_k_beyond_the_labels_is_skipped():
    assert [row.k for row in trivial_rows(TRAIN[:, :2], NAMES[:2])] == [None, 1, 2, None]


def test_the_prior_ranks_no_row_before_another():
    targets = np.array([[1, 0, 1, 0], [0, 0, 1, 1]], dtype=bool)
    for row in trivial_rows(TRAIN, NAMES):
        scores = evaluate(row.predict(2), targets, THRESHOLD, NAMES)
        assert scores.mean_average_precision == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_unfit_arguments_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        trivial_rows(np.zeros((0, 2), bool), ["a", "b"])
    with pytest.raises(ValueError, match="names"):
        trivial_rows(TRAIN, ["a"])
    with pytest.raises(ValueError, match="at least 1"):
        trivial_rows(TRAIN, NAMES, ks=(0,))
