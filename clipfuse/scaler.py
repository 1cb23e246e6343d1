"""Standardising a stream on its training rows."""

from __future__ import annotations

import torch
from torch import nn


class Scaler(nn.Module):
    """(x - mean) / standard deviation per column, both from the training rows; part of the saved model.

    Rows without input become zeros, which is the training mean. Columns that do not vary are only centred.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, values: torch.Tensor, present: torch.Tensor) -> None:
        """Take mean and deviation from ``values`` (rows, tokens, dim) where ``present`` (rows,) is true."""
        rows = values[present].flatten(0, 1).double()
        if len(rows) == 0:
            return
        deviation = rows.std(0, correction=0)
        varies = deviation > 1e-6 * rows.abs().amax(0).clamp(min=1e-6)
        self.mean.copy_(rows.mean(0))
        self.scale.copy_(torch.where(varies, 1 / deviation, torch.ones_like(deviation)))

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """(rows, tokens, dim), (rows,) bool -> (rows, tokens, dim) float32."""
        return (values.float() - self.mean) * self.scale * present[:, None, None]
