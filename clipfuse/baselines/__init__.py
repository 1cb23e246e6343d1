"""scikit-learn estimators behind the interface that the heads have. Adding one is one entry here."""

from __future__ import annotations

from typing import Any

from pydantic import PositiveInt

from clipfuse.baselines.scores import fit_estimator, label_scores
from clipfuse.kinds import Kinds
from clipfuse.settings import Settings

__all__ = ["BASELINES", "KnnSettings", "fit_estimator", "label_scores"]

BASELINES: Kinds[Any] = Kinds("baseline")
"""Makers: (training rows, settings) -> an unfitted multi-label estimator."""


class KnnSettings(Settings):
    """How many of the nearest rows are asked."""

    neighbors: PositiveInt = 15


@BASELINES.register("knn", KnnSettings)
def _knn(rows: int, settings: KnnSettings) -> Any:
    """The share of the nearest rows (by cosine, weighted by closeness) that have a label."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbors = min(settings.neighbors, rows)
    return KNeighborsClassifier(neighbors, weights="distance", metric="cosine", algorithm="brute")
