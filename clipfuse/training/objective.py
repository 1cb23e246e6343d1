"""The one number that training makes small: a loss over the cells of a batch, weighted by label."""

from __future__ import annotations

import math
from typing import Literal

import torch

from clipfuse.losses import LOSSES
from clipfuse.train_config import FitConfig

LabelWeights = Literal["none", "log-frequency", "inverse-frequency", "effective-number"]

RAREST = 0.1
"""Inverse frequency: a label counts as having at least this part of the median label's rows, so that one label with
three rows does not outweigh all others."""


def label_weights(kind: LabelWeights, positives: torch.Tensor, *, beta: float = 0.999) -> torch.Tensor | None:
    """What the cells of each label count for.

    Args:
        kind: log-frequency, ½ (log n / log T + log T / log n) for n rows with the label and T labels on all rows
            together, n and T at least 2 (a logarithm of 0 weighs nothing or everything); inverse-frequency, 1 / n;
            effective-number, (1 - beta) / (1 - beta^n) (Cui et al. 2019). The latter two have mean 1 over the labels.
        positives: (…, labels), training rows that have the label; each leading index is weighted for itself.
        beta: of the effective number: rows beyond 1 / (1 - beta) hardly make a label more common.

    Returns:
        (…, labels) float32; None for none.
    """
    if kind == "none":
        return None
    n = positives.double()
    if kind == "log-frequency":
        total = n.sum(-1, keepdim=True).clamp(min=2).log()
        log_n = n.clamp(min=2).log()
        return (0.5 * (log_n / total + total / log_n)).float()
    if kind == "inverse-frequency":
        weights = 1 / n.maximum(RAREST * n.quantile(0.5, dim=-1, keepdim=True)).clamp(min=1)
    else:
        weights = (1 - beta) / -torch.expm1(n.clamp(min=1) * math.log(beta))
    return (weights / weights.mean(-1, keepdim=True)).float()


class Objective:
    """The loss that a configuration asks for.

    Args:
        config: its loss, label_smoothing and reduction.
        weights: (labels,), or (members, labels) where members differ, on the logits' device; None weighs all labels
            alike. The mean is over the number of cells and not over the sum of their weights.
    """

    def __init__(self, config: FitConfig, weights: torch.Tensor | None) -> None:
        self.loss = LOSSES.build(config.loss)
        self.smoothing = config.label_smoothing
        self.reduction = config.reduction
        self.weights = None if weights is None else weights.unsqueeze(-2)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(…, rows, labels) logits and float targets in [0, 1], of one shape -> (…), one number a member.

        Logits of half precision are computed with in float32.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.smoothing:
            targets = targets + self.smoothing * (0.5 - targets)
        cells = self.loss(logits, targets.to(logits.dtype))
        if self.weights is not None:
            cells = cells * self.weights
        return cells.mean((-2, -1)) if self.reduction == "mean" else cells.sum((-2, -1))
