"""scikit-learn's estimators behind the interface that the heads have."""

from __future__ import annotations

from clipfuse.baselines.estimator import Estimator, check_baseline, fit_estimator, label_scores, load_estimator
from clipfuse.baselines.head import EstimatorHead
from clipfuse.baselines.kinds import BASELINES, Baseline, WordFeatures

__all__ = [
    "BASELINES",
    "Baseline",
    "Estimator",
    "EstimatorHead",
    "WordFeatures",
    "check_baseline",
    "fit_estimator",
    "label_scores",
    "load_estimator",
]
