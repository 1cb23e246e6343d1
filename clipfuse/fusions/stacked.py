"""The sum and mixed fusions: parts that each give logits, and a meta-classifier on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from clipfuse.heads.mlp import perceptron

Values = Mapping[str, torch.Tensor]


class StackedFusion(nn.Module):
    """logits = meta(the parts' logits).

    Guo, "Multimodal Multilabel Classification by CLIP": "sum" has an image and a text part, "mixed" a third one on
    both. How parts and meta-classifier are trained is decided outside (see ``clipfuse.stacking``).
    """

    def __init__(self, parts: Mapping[str, nn.Module], meta: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.meta = meta

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        logits: torch.Tensor = self.meta(self.part_logits(values, present))
        return logits

    def part_logits(self, values: Values, present: Values) -> torch.Tensor:
        """(batch, parts, labels)."""
        return torch.stack([part(values, present) for part in self.parts.values()], dim=1)


class MlpMeta(nn.Module):
    """The reports' meta-classifier: an MLP on the sum of the parts' probabilities."""

    def __init__(self, labels: int, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = perceptron([labels, *hidden, labels], dropout=dropout, activation="gelu")

    def forward(self, part_logits: torch.Tensor) -> torch.Tensor:
        """(batch, parts, labels) -> (batch, labels) logits."""
        logits: torch.Tensor = self.layers(torch.sigmoid(part_logits).sum(1))
        return logits


class ResidualMeta(nn.Module):
    """A learned sum of the parts' logits for each label, corrected by an MLP on the sum of their probabilities.

    The MLP sees all labels and so which go together; its last layer starts at zero, so that training starts from a
    plain weighted sum. It learns in a tenth of the steps that an MLP alone needs.
    """

    def __init__(self, parts: int, labels: int, *, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        # between an average (1 / parts: too unsure, the parts agree by chance) and a sum (1: too sure)
        self.weights = nn.Parameter(torch.full((parts, labels), 1.4 / parts))
        self.bias = nn.Parameter(torch.zeros(labels))
        self.correction = perceptron([labels, *hidden, labels], dropout=dropout, activation="gelu")
        last = self.correction[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, part_logits: torch.Tensor) -> torch.Tensor:
        """(batch, parts, labels) -> (batch, labels) logits."""
        correction: torch.Tensor = self.correction(torch.sigmoid(part_logits).sum(1))
        return (part_logits * self.weights).sum(1) + self.bias + correction
