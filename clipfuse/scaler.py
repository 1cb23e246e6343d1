"""Standardising a stream on its training rows."""

from __future__ import annotations

import torch
from torch import nn


class Scaler(nn.Module):
    """(x - mean) / standard deviation per column, both from the training rows; part of the saved model.

    Columns that do not vary are only centred, those that no training row has become zeros. Cells that are not a number
    become zeros, which is the training mean.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def take(self, moments: Moments) -> None:
        """Take mean and deviation from ``moments``; without any row nothing changes."""
        if not bool((moments.count > 0).any()):
            return
        deviation = (moments.squares / moments.count.clamp(min=1)).sqrt()
        varies = deviation > 1e-6 * moments.largest.clamp(min=1e-6)
        self.mean.copy_(moments.mean)
        unvarying = (moments.count > 0).to(deviation)
        self.scale.copy_(torch.where(varies, 1 / deviation, unvarying))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(..., dim) of any float type -> float32."""
        scaled = values - self.mean  # the difference with float32 is float32, and new: the rest can be in place
        return scaled.mul_(self.scale).nan_to_num_(nan=0.0)


class Moments:
    """Mean and squared deviations of columns, gathered block by block (Chan, Golub, LeVeque 1983).

    Attributes:
        count: (dim,) float64, cells that are a number.
        mean: (dim,) float64.
        squares: (dim,) float64, sum of squared deviations.
        largest: (dim,) float64, greatest absolute value.
    """

    def __init__(self, dim: int, device: torch.device) -> None:
        self.count, self.mean, self.squares, self.largest = torch.zeros(4, dim, dtype=torch.float64, device=device)

    def add(self, values: torch.Tensor) -> None:
        """Gather (rows, dim)."""
        for block in torch.split(values, 4096):
            if len(block) == 0:
                continue
            rows = block.float()
            found = Moments(len(self.mean), rows.device)
            if bool(rows.sum().isnan()):
                there = ~rows.isnan()
                found.count = there.sum(0).double()
                found.mean = rows.nansum(0).double() / found.count.clamp(min=1)
                found.squares = (rows.double() - found.mean).nan_to_num_(nan=0.0).square_().sum(0)
                rows = rows.nan_to_num(nan=0.0)
            else:  # float32 will do: blocks are small, and what they give is gathered in float64
                variance, mean = torch.var_mean(rows, 0, correction=0)
                found.count = found.count + len(rows)
                found.mean, found.squares = mean.double(), variance.double() * len(rows)
            found.largest = torch.stack(torch.aminmax(rows, dim=0)).abs().amax(0).double()
            self.merge(found)

    def merge(self, other: Moments) -> None:
        """Gather what another has gathered."""
        total = self.count + other.count
        share = other.count / total.clamp(min=1)
        shift = other.mean - self.mean
        self.squares = self.squares + other.squares + shift**2 * self.count * share
        self.mean = self.mean + shift * share
        self.largest = torch.maximum(self.largest, other.largest)
        self.count = total
