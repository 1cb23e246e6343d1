"""A baseline as a head: wherever a head can stand, an estimator can."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.baselines.estimator import Estimator, fit_estimator
from clipfuse.baselines.kinds import WordFeatures
from clipfuse.heads import Head
from clipfuse.settings import Choice

_SURE = 1e-6
"""Probabilities this near to 0 or 1 are as good as 0 and 1: logits are finite."""


class EstimatorHead(Head):
    """logit of what a scikit-learn estimator says of the first token. It is fitted, not trained in steps.

    Args:
        dim: width of the features.
        labels: how many.
        choice: which baseline, with its parameters.
        words: what it makes of captions, where the features are these; None: they are embeddings.
    """

    batchable = False  # see clipfuse.training.members

    def __init__(self, dim: int, labels: int, choice: Choice, words: WordFeatures | None = None) -> None:
        super().__init__()
        self.dim = dim
        self.choice = choice
        self.words = words
        self.estimator: Estimator | None = None

    def fit(self, features: NDArray[np.float32], targets: NDArray[np.bool_], *, seed: int) -> None:
        """Fit on (rows, dim) features and (rows, labels) targets. Raises ConfigError, TrainingError."""
        self.estimator = fit_estimator(self.choice, features, targets, words=self.words, seed=seed)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        assert self.estimator is not None, "not fitted"
        scores = self.estimator.scores(features[:, 0].detach().float().cpu().numpy())
        return torch.logit(torch.from_numpy(scores), eps=_SURE).float().to(features.device)
