"""Dropout whose rate may differ among models that are trained side by side, and that is fast on a processor."""

from __future__ import annotations

import torch
from torch import nn

STEPS = 2**16
"""On a processor rates are multiples of 1 / STEPS: a random 64-bit integer decides on four cells. torch's own kernel
draws each cell's float, which takes ten times as long and half as long as the matrix product before it."""


class Dropout(nn.Dropout):
    """``nn.Dropout`` with its rate in a buffer too, which ``torch.vmap`` can batch as it can't batch a Python number.

    Attributes:
        rate: () float32, the same as ``p``; not saved.
        varies: set where models of different rates are batched: then the buffer counts.
    """

    rate: torch.Tensor

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.varies = False
        self.register_buffer("rate", torch.tensor(float(rate)), persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape and type."""
        if not self.training or (self.p == 0 and not self.varies):
            return values
        if self.varies:
            return values * _kept(values, self.rate) / (1 - self.rate).to(values.dtype)
        if values.device.type != "cpu":
            return super().forward(values)
        return values * _kept(values, self.p) / (1 - self.p)


def _kept(values: torch.Tensor, rate: torch.Tensor | float) -> torch.Tensor:
    """Which cells stay, bool, of the shape of ``values``."""
    cells = values.numel()
    drawn = torch.randint(-(2**63), 2**63 - 1, ((cells + 3) // 4,), device=values.device)
    numbers = drawn.view(torch.int16)[:cells].view(values.shape)
    return numbers >= rate * STEPS - STEPS // 2
