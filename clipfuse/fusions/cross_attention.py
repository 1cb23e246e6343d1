"""Attention over the tokens of all streams."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import nn

from clipfuse.attention import AttentionLayer, AttentionSettings
from clipfuse.fusions.kinds import FUSIONS, MakeHead, Values


class CrossAttentionSettings(AttentionSettings):
    """What can be set of ``CrossAttentionFusion``.

    Attributes:
        layers: of attention, one after the other.
        queries: learned ones.
    """

    layers: int = Field(default=1, ge=1, le=16)
    queries: int = Field(default=4, ge=1)


@FUSIONS.register("cross-attention", CrossAttentionSettings)
class CrossAttentionFusion(nn.Module):
    """Learned queries attend over the tokens of all streams; a head reads the mean of their answers.

    The queries are those of Jaegle et al. 2021, "Perceiver" (and of BLIP-2's Q-Former): any number of streams and
    tokens, at a cost that grows with their sum. Each stream is projected to one width and marked with a learned vector
    of its own. Tokens of streams that a row lacks can't be attended to.
    """

    def __init__(
        self, dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: CrossAttentionSettings
    ) -> None:
        super().__init__()
        width = settings.width
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dim, width), nn.LayerNorm(width)) for name, dim in dims.items()}
        )
        self.marks = nn.ParameterDict({name: nn.Parameter(torch.randn(width)) for name in dims})
        self.queries = nn.Parameter(torch.randn(settings.queries, width))
        self.layers = nn.ModuleList(
            AttentionLayer(width, heads=settings.heads, dropout=settings.dropout) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = make_head(width)

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        tokens = torch.cat([layer(values[name]) + self.marks[name] for name, layer in self.project.items()], dim=1)
        allowed = torch.cat([present[name][:, None].expand(-1, values[name].shape[1]) for name in self.project], dim=1)
        answers = self.queries.expand(tokens.shape[0], -1, -1)
        for layer in self.layers:
            answers = layer(answers, tokens, allowed)
        logits: torch.Tensor = self.head(self.norm(answers).mean(1, keepdim=True))
        return logits
