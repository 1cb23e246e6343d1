"""Several labels as one class: their combination."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

_CELLS = 1 << 24
"""Of what a machine with one vote for each pair of classes says of some rows at once."""


class LabelPowerset(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Each combination of labels that training rows have is a class of ``estimator`` (with ``decision_function``).

    What it says of a label is how far the best class with the label is above the best one without it: above 0 where the
    class that it would choose has the label. Needs labels that some training rows have and some have not.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, features: Any, targets: NDArray[np.int64]) -> LabelPowerset:
        """(rows, dim), (rows, labels) of 0 and 1."""
        rows = targets.reshape(len(targets), -1)
        self.combinations_, classes = np.unique(rows, axis=0, return_inverse=True)
        self.estimator_ = clone(self.estimator).fit(features, classes.reshape(-1))
        return self

    def decision_function(self, features: Any) -> NDArray[np.float64]:
        """(rows, dim) -> (rows, labels)."""
        classes, labels = self.combinations_.shape
        step = max(1, _CELLS // max(1, classes * (classes - 1) // 2))
        found = np.empty((features.shape[0], labels))
        for start in range(0, features.shape[0], step):
            said = self.estimator_.decision_function(features[start : start + step])
            said = np.stack([-said, said], axis=1) if said.ndim == 1 else said
            for label in range(labels):
                has = self.combinations_[:, label] > 0
                found[start : start + step, label] = said[:, has].max(1) - said[:, ~has].max(1)
        return found
