"""One linear layer."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from clipfuse.dropout import Dropout
from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.settings import Settings


class LinearSettings(Settings):
    """What can be set of ``LinearHead``.

    Attributes:
        input_activation: what the features go through first.
        dropout: share of the features (after their activation) that training zeroes.
    """

    input_activation: Literal["none", "relu"] = "none"
    dropout: float = Field(default=0.0, ge=0, lt=1)


@HEADS.register("linear", LinearSettings)
class LinearHead(Head):
    """One linear layer on the first token: logistic regression when trained with BCE."""

    def __init__(self, dim: int, labels: int, settings: LinearSettings) -> None:
        super().__init__()
        activation = nn.ReLU() if settings.input_activation == "relu" else nn.Identity()
        self.before = nn.Sequential(activation, Dropout(settings.dropout))
        self.linear = nn.Linear(dim, labels)

    @property
    def label_bias(self) -> nn.Parameter:
        """(labels,) of the last layer."""
        return self.linear.bias

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        logits: torch.Tensor = self.linear(self.before(features[:, 0]))
        return logits
