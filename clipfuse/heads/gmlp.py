"""A gated MLP head for single vectors."""

from __future__ import annotations

import torch
from torch import nn


class GatedBlock(nn.Module):
    """Linear d-d, dropout, batch norm, GELU, x · sigmoid(Linear(LayerNorm x)), Linear d-d, residual.

    The gate of Guo's CLIP report (its code's form; Liu et al. 2021, "Pay Attention to MLPs", gate half of the channels
    with the other half).
    """

    def __init__(self, dim: int, *, dropout: float) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout), nn.BatchNorm1d(dim), nn.GELU())
        self.gate = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Sigmoid())
        self.after = nn.Linear(dim, dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, dim) -> (batch, dim)."""
        inner = self.before(features)
        result: torch.Tensor = features + self.after(inner * self.gate(inner))
        return result


class GmlpHead(nn.Module):
    """Gated blocks and a linear layer on the first token."""

    def __init__(self, dim: int, labels: int, *, blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(GatedBlock(dim, dropout=dropout) for _ in range(blocks)))
        self.linear = nn.Linear(dim, labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits. Training needs batches of at least two rows."""
        logits: torch.Tensor = self.linear(self.blocks(features[:, 0]))
        return logits
