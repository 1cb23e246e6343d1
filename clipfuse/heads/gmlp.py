"""Gated MLPs for single vectors, with two forms of the gate."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from clipfuse.dropout import Dropout
from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.settings import Settings


class GmlpSettings(Settings):
    """What can be set of ``GmlpHead``.

    Attributes:
        blocks: gated blocks, one after the other.
        dropout: in each block.
        gate: whole, every channel is gated, with all of them (the code of Guo's CLIP report); split, one half of the
            channels is gated with the other half (its equation 9, as published by Liu et al. 2021).
    """

    blocks: int = Field(default=2, ge=1, le=32)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    gate: Literal["whole", "split"] = "whole"


class WholeGate(nn.Module):
    """x · sigmoid(Linear(LayerNorm x))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, dim) -> (batch, dim)."""
        result: torch.Tensor = features * self.gate(features)
        return result


class SplitGate(nn.Module):
    """z1 · (W LayerNorm(z2) + b), where z1 and z2 are the halves of the channels.

    Liu et al. 2021, "Pay Attention to MLPs", where W mixes tokens; a single vector has none to mix, so here W mixes the
    channels of z2. As there, W starts near 0 and b at 1, so that the gate starts open.
    """

    def __init__(self, half: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(half)
        self.linear = nn.Linear(half, half)
        nn.init.normal_(self.linear.weight, std=1e-3)
        nn.init.ones_(self.linear.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, 2 · half) -> (batch, half)."""
        gated, gating = features.chunk(2, dim=-1)
        result: torch.Tensor = gated * self.linear(self.norm(gating))
        return result


class GatedBlock(nn.Module):
    """x + Linear(gate(GELU(BatchNorm(dropout(Linear x))))).

    All layers are ``dim`` wide. With the split gate an odd ``dim`` is made even inside, and the last layer reads half
    of it.
    """

    def __init__(self, dim: int, *, dropout: float, gate: Literal["whole", "split"]) -> None:
        super().__init__()
        half = (dim + 1) // 2
        inner, gated = (dim, dim) if gate == "whole" else (2 * half, half)
        self.before = nn.Sequential(nn.Linear(dim, inner), Dropout(dropout), nn.BatchNorm1d(inner), nn.GELU())
        self.gate = WholeGate(dim) if gate == "whole" else SplitGate(half)
        self.after = nn.Linear(gated, dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, dim) -> (batch, dim)."""
        result: torch.Tensor = features + self.after(self.gate(self.before(features)))
        return result


@HEADS.register("gmlp", GmlpSettings)
class GmlpHead(Head):
    """Gated blocks and a linear layer on the first token. Training needs batches of at least two rows."""

    def __init__(self, dim: int, labels: int, settings: GmlpSettings) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(GatedBlock(dim, dropout=settings.dropout, gate=settings.gate) for _ in range(settings.blocks))
        )
        self.linear = nn.Linear(dim, labels)

    @property
    def label_bias(self) -> nn.Parameter:
        """(labels,) of the last layer."""
        return self.linear.bias

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        logits: torch.Tensor = self.linear(self.blocks(features[:, 0]))
        return logits
