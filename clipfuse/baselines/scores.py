"""The one adapter for the shapes in which scikit-learn's estimators take labels and give probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fit_estimator(estimator: Any, features: NDArray[np.float32], targets: NDArray[np.bool_]) -> None:
    """Fit ``estimator`` on (rows, dim) features and (rows, labels) targets; one label alone is a plain column to it."""
    columns = targets.astype(np.int64)
    estimator.fit(features, columns[:, 0] if columns.shape[1] == 1 else columns)


def label_scores(estimator: Any, features: NDArray[np.float32], labels: int) -> NDArray[np.float64]:
    """Probability of each label.

    Estimators with several outputs give a list of (rows, classes) arrays, where a label that was constant in training
    has one class only; those with one output give such an array; one-vs-rest and chains give one (rows, labels) array.

    Args:
        estimator: fitted by :func:`fit_estimator`, with ``predict_proba``.
        features: (rows, dim).
        labels: how many it was fitted on.

    Returns:
        (rows, labels) float64 in [0, 1].
    """
    found, classes = estimator.predict_proba(features), estimator.classes_
    if labels == 1 and isinstance(classes, np.ndarray):
        found, classes = [found], [classes]
    if isinstance(found, np.ndarray):
        return np.clip(found.astype(np.float64), 0, 1)
    columns = []
    for probabilities, known in zip(found, classes, strict=True):
        positive = np.flatnonzero(np.asarray(known) == 1)
        columns.append(probabilities[:, positive[0]] if len(positive) else np.zeros(len(features)))
    return np.clip(np.stack(columns, axis=1).astype(np.float64), 0, 1)
