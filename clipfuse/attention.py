"""Multi-head attention for heads and fusions."""

from __future__ import annotations

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import nn

from clipfuse.dropout import Dropout
from clipfuse.settings import Settings


class AttentionSettings(Settings):
    """What heads and fusions with attention have in common.

    Attributes:
        width: of everything inside; a multiple of ``heads``.
        heads: of the attention.
        dropout: of attention weights, and after each layer.
    """

    width: int = Field(default=256, ge=1)
    heads: int = Field(default=4, ge=1, validate_default=True)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @field_validator("heads")
    @classmethod
    def _divide_the_width(cls, heads: int, found: ValidationInfo) -> int:
        width = found.data.get("width", heads)
        if width % heads:
            raise ValueError(f"the width, {width}, should be a multiple of it")
        return heads


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) of some queries over some tokens.

    Beside the tokens there is a learned one that stands for "nothing": a query that has one token, or none, can still
    choose how much it takes. In plain matrix products: torch's own module takes fast paths that ``torch.vmap`` can't
    follow, and our tokens are few. Keys have no bias, which a softmax over keys could not see.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.nothing = nn.Parameter(torch.randn(width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
        """What each query takes from the tokens.

        Args:
            queries: (batch, queries, width).
            tokens: (batch, tokens, width).
            allowed: (batch, tokens) bool; None allows all.

        Returns:
            (batch, queries, width).
        """
        tokens = torch.cat([self.nothing.expand(tokens.shape[0], 1, -1), tokens], dim=1)
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, tokens), (self.value, tokens))
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if allowed is not None:
            allowed = torch.cat([torch.ones_like(allowed[:, :1]), allowed], dim=1)
            scores = scores.masked_fill(~allowed[:, None, None, :], torch.finfo(scores.dtype).min)
        taken = self.dropout(scores.softmax(-1)) @ value
        result: torch.Tensor = self.out(taken.transpose(1, 2).flatten(-2))
        return result


class AttentionLayer(nn.Module):
    """Attention and a feed-forward layer, each on the layer norm of what it is added to."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads=heads, dropout=dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.dropout = Dropout(dropout)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
        """As ``Attention``: (batch, queries, width)."""
        queries = queries + self.dropout(self.attention(self.norm(queries), tokens, allowed))
        result: torch.Tensor = queries + self.dropout(self.feed_forward(queries))
        return result
