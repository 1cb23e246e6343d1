"""The adapter against the shapes of scikit-learn's own estimators."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from clipfuse.baselines import label_scores
from clipfuse.baselines.label_powerset import LabelPowerset


def data(labels, rows=200):
    x = np.random.default_rng(0).normal(size=(rows, 6))
    return x, (x[:, :labels] + 0.3 * x[:, 3:4] > 0).astype(int)


@pytest.mark.parametrize("labels", [1, 2, 3])
@pytest.mark.parametrize(
    ("make", "column"),
    [
        (lambda: KNeighborsClassifier(3), True),
        (lambda: MultiOutputClassifier(LogisticRegression()), False),
        (lambda: OneVsRestClassifier(LogisticRegression()), True),
        (lambda: OneVsRestClassifier(LinearSVC()), True),
        (lambda: RidgeClassifier(), True),
        (lambda: ClassifierChain(LogisticRegression()), False),
        (lambda: LabelPowerset(SVC(break_ties=True)), False),
    ],
    ids=["neighbors", "multi-output", "one-vs-rest", "decision", "ridge", "chain", "powerset"],
)
def test_every_shape_is_cut_where_the_estimator_cuts(make, column, labels):
    x, y = data(labels)
    estimator = make().fit(x, y[:, 0] if labels == 1 and column else y)
    found = label_scores(estimator, x, labels)
    assert found.shape == (200, labels)
    if isinstance(estimator, LabelPowerset):
        expected = estimator.combinations_[estimator.estimator_.predict(x)]
    else:
        expected = estimator.predict(x).reshape(200, labels)
    np.testing.assert_array_equal(found > 0.5, expected == 1)


def test_powerset_in_blocks_says_the_same(monkeypatch):
    x, y = data(3)
    powerset = LabelPowerset(SVC()).fit(x, y)
    whole = powerset.decision_function(x)
    monkeypatch.setattr("clipfuse.baselines.label_powerset._CELLS", 100)
    np.testing.assert_allclose(powerset.decision_function(x), whole)
