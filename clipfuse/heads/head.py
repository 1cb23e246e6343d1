"""What every head is to fusions and to the training."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import nn


class Head(nn.Module):
    """Features to logits.

    Attributes:
        labels_in_order: whether what it has learned of a label holds in this order of labels only.
        reads_unscaled: whether it takes features as the encoder gives them, and not standardised.
    """

    labels_in_order: ClassVar[bool] = False
    reads_unscaled: ClassVar[bool] = False

    @property
    def label_bias(self) -> nn.Parameter | None:
        """(labels,) what is added to the logits in the end; None where labels have no such number each."""
        return None

    @abstractmethod
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
