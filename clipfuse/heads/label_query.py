"""A head in which each label looks for itself among the tokens."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import nn

from clipfuse.attention import AttentionLayer, AttentionSettings
from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS


class LabelQuerySettings(AttentionSettings):
    """What can be set of ``LabelQueryHead``.

    Attributes:
        groups: at most so many learned queries, each for several labels; None: one a label.
    """

    groups: int | None = Field(default=None, ge=1)


@HEADS.register("label-query", LabelQuerySettings)
class LabelQueryHead(Head):
    """Learned queries attend over the tokens; each label reads its query's answer with weights of its own.

    Liu et al. 2021, "Query2Label", without attention among the queries, as in Ridnik et al. 2021, "ML-Decoder", from
    which the groups are: with many labels a query serves the labels of one group. With one token a query still chooses
    how much of it to take (see ``Attention``).
    """

    def __init__(self, dim: int, labels: int, settings: LabelQuerySettings) -> None:
        super().__init__()
        in_group = math.ceil(labels / (settings.groups or labels))
        groups = math.ceil(labels / in_group)
        self.labels = labels
        self.project = nn.Sequential(nn.Linear(dim, settings.width), nn.LayerNorm(settings.width))
        self.queries = nn.Parameter(torch.randn(groups, settings.width))
        self.layer = AttentionLayer(settings.width, heads=settings.heads, dropout=settings.dropout)
        self.norm = nn.LayerNorm(settings.width)
        self.weight = nn.Parameter(torch.randn(groups, settings.width, in_group) / settings.width**0.5)
        self.bias = nn.Parameter(torch.zeros(labels))

    @property
    def label_bias(self) -> nn.Parameter:
        """(labels,) added to what the answers say."""
        return self.bias

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        queries = self.queries.expand(features.shape[0], -1, -1)
        answers = self.norm(self.layer(queries, self.project(features)))
        logits = torch.einsum("bgw,gwl->bgl", answers, self.weight).flatten(
            1
        )  # the last group may have labels to spare
        return logits[:, : self.labels] + self.bias
