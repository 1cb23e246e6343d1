"""A classifier chain in one module."""

from __future__ import annotations

import torch
from pydantic import Field, PositiveInt
from torch import nn

from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.heads.mlp import Activation, last_bias, perceptron
from clipfuse.settings import Settings


class ChainSettings(Settings):
    """What can be set of ``ChainHead``: the perceptron that gives each label's own logit, as of the mlp head."""

    hidden: tuple[PositiveInt, ...] = (512,)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    activation: Activation = "gelu"


@HEADS.register("chain", ChainSettings)
class ChainHead(Head):
    """logit of label l = own logit + sum over the labels k before it of effect[k, l] · probability of k.

    Read et al. 2011, "Classifier chains for multi-label classification", in the labels' order. They train each link on
    the true labels before it and predict from predicted ones; here training and prediction both use the chain's own
    probabilities, so that it trains from its logits as any head does, and sees in training what it will see later.
    Effects start at zero: at first, labels are independent.
    """

    labels_in_order = True  # what it has learned of a label holds in this order only

    def __init__(self, dim: int, labels: int, settings: ChainSettings) -> None:
        super().__init__()
        self.own = perceptron([dim, *settings.hidden, labels], dropout=settings.dropout, activation=settings.activation)
        self.effects = nn.Parameter(torch.zeros(labels, labels))  # only what is above the diagonal is read

    @property
    def label_bias(self) -> nn.Parameter:
        """(labels,) of the labels' own logits."""
        return last_bias(self.own)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits, from the first token."""
        logits: torch.Tensor = self.own(features[:, 0])
        effects = self.effects.triu(1)
        for label in range(len(effects) - 1):  # a label is final once all before it have had their effect
            logits = logits + torch.sigmoid(logits[:, label, None]) * effects[label]
        return logits
