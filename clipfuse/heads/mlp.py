"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from clipfuse.dropout import Dropout
from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.settings import Settings

Activation = Literal["gelu", "relu", "leaky_relu"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


def perceptron(sizes: Sequence[int], *, dropout: float, activation: str) -> nn.Sequential:
    """Linear layers of these sizes; after each but the last an activation and dropout."""
    layers: list[nn.Module] = []
    for n, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        if n:
            layers += [ACTIVATIONS[activation](), Dropout(dropout)]
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


def last_bias(layers: nn.Sequential) -> nn.Parameter:
    """What the last linear layer of a perceptron adds."""
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    return last.bias


class MlpSettings(Settings):
    """What can be set of ``MlpHead``.

    Attributes:
        hidden: widths of the hidden layers; none makes it a linear layer.
        dropout: after each hidden layer.
        activation: of each hidden layer.
    """

    hidden: tuple[PositiveInt, ...] = (512,)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    activation: Activation = "gelu"


@HEADS.register("mlp", MlpSettings)
class MlpHead(Head):
    """dim - hidden … - labels on the first token, with activation and dropout after each hidden layer."""

    def __init__(self, dim: int, labels: int, settings: MlpSettings) -> None:
        super().__init__()
        self.layers = perceptron(
            [dim, *settings.hidden, labels], dropout=settings.dropout, activation=settings.activation
        )

    @property
    def label_bias(self) -> nn.Parameter:
        """(labels,) of the last layer."""
        return last_bias(self.layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        logits: torch.Tensor = self.layers(features[:, 0])
        return logits
