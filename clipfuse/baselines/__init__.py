"""scikit-learn estimators behind the interface that the heads have. Adding one is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clipfuse.baselines.scores import fit_estimator, label_scores
from clipfuse.config import HeadConfig
from clipfuse.registry import Registry

__all__ = ["BASELINES", "MakeEstimator", "fit_estimator", "label_scores"]

MakeEstimator = Callable[[HeadConfig, int], Any]
"""Makes an unfitted multi-label estimator for so many training rows."""

BASELINES: Registry[MakeEstimator] = Registry("baseline")


@BASELINES.register("knn")
def _knn(config: HeadConfig, rows: int) -> Any:
    """The share of the nearest rows (by cosine, weighted by closeness) that have a label."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbors = min(config.neighbors, rows)
    return KNeighborsClassifier(neighbors, weights="distance", metric="cosine", algorithm="brute")
