"""What every estimator promises, for each one in the registry, and the adapter for their shapes."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier

from clipfuse.baselines import BASELINES, fit_estimator, label_scores
from clipfuse.settings import Choice


def data(labels=3, rows=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return x, x[:, :labels] + 0.3 * x[:, 3:4] > 0


def fitted(name, labels=3, rows=200):
    x, y = data(labels, rows)
    estimator = BASELINES.build(Choice(kind=name, neighbors=7), rows)
    fit_estimator(estimator, x, y)
    return estimator


def test_registry_is_not_empty():
    assert set(BASELINES) >= {"knn"}


@pytest.mark.parametrize("name", BASELINES)
class TestEveryBaseline:
    @pytest.mark.parametrize("labels", [1, 2, 3])
    def test_gives_one_probability_a_label(self, name, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = label_scores(fitted(name, labels), data(labels, seed=1)[0], labels)
        assert found.shape == (200, labels)
        assert found.dtype == np.float64
        assert 0 <= found.min() < found.max() <= 1

    @pytest.mark.parametrize("labels", [1, 3])
    def test_learns_what_can_be_learned(self, name, labels):
        x, y = data(labels, seed=1)
        chosen = label_scores(fitted(name, labels, rows=1000), x, labels) >= 0.5
        assert 2 * (chosen & y).sum() / (chosen.sum() + y.sum()) > 0.85

    def test_is_deterministic(self, name):
        x = data(seed=1)[0]
        assert np.array_equal(label_scores(fitted(name), x, 3), label_scores(fitted(name), x, 3))

    def test_one_row_alone(self, name):
        x = data(seed=1)[0]
        np.testing.assert_allclose(
            label_scores(fitted(name), x[:1], 3), label_scores(fitted(name), x, 3)[:1], atol=1e-6
        )

    def test_rows_without_input_give_probabilities(self, name):
        found = label_scores(fitted(name), np.zeros((2, 6), np.float32), 3)
        assert np.isfinite(found).all()

    @pytest.mark.parametrize("labels", [1, 3])
    @pytest.mark.parametrize("constant", [False, True])
    def test_a_label_that_never_or_always_applies(self, name, labels, constant):
        x, y = data(labels)
        y[:, -1] = constant
        estimator = BASELINES.build(Choice(kind=name, neighbors=7), len(x))
        fit_estimator(estimator, x, y)
        np.testing.assert_array_equal(label_scores(estimator, x, labels)[:, -1], float(constant))

    def test_fewer_rows_than_neighbors(self, name):
        assert label_scores(fitted(name, rows=4), data()[0], 3).shape == (200, 3)


@pytest.mark.parametrize("labels", [1, 2, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda: KNeighborsClassifier(3),
        lambda: MultiOutputClassifier(LogisticRegression()),
        lambda: OneVsRestClassifier(LogisticRegression()),
        lambda: ClassifierChain(LogisticRegression()),
    ],
    ids=["neighbors", "multi-output", "one-vs-rest", "chain"],
)
def test_the_adapter_knows_every_shape(make, labels):
    x, y = data(labels)
    estimator = make()
    if labels == 1 and not isinstance(estimator, KNeighborsClassifier | OneVsRestClassifier):
        estimator.fit(x, y.astype(int))
    else:
        fit_estimator(estimator, x, y)
    found = label_scores(estimator, x, labels)
    assert found.shape == (200, labels)
    assert ((found >= 0.5) == y).mean() > 0.8
