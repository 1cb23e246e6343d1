"""Linear and multi-layer perceptron heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


def perceptron(sizes: Sequence[int], *, dropout: float, activation: str) -> nn.Sequential:
    """Linear layers of these sizes; after each but the last an activation and dropout."""
    layers: list[nn.Module] = []
    for n, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        if n:
            layers += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


class LinearHead(nn.Module):
    """One linear layer on the first token: logistic regression when trained with BCE."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        logits: torch.Tensor = self.linear(features[:, 0])
        return logits


class MlpHead(nn.Module):
    """dim - hidden … - labels on the first token, with activation and dropout after each hidden layer."""

    def __init__(self, dim: int, labels: int, *, hidden: Sequence[int], dropout: float, activation: str) -> None:
        super().__init__()
        self.layers = perceptron([dim, *hidden, labels], dropout=dropout, activation=activation)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        logits: torch.Tensor = self.layers(features[:, 0])
        return logits
