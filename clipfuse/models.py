"""The only place where settings meet modules."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from clipfuse.config import TrainConfig
from clipfuse.fusions import FUSIONS
from clipfuse.heads import HEADS


def build_model(config: TrainConfig, dims: Mapping[str, int], labels: int, *, seed: int) -> nn.Module:
    """A fresh fusion with random weights, the same ones for the same seed.

    Args:
        config: which fusion and head, and their sizes.
        dims: stream ("image", "text") -> width, in the order in which they are joined.
        labels: how many labels.
        seed: of the weights.

    Raises:
        UnknownName: no such fusion or head.
    """
    make_head = HEADS.get(config.head.kind)
    torch.manual_seed(seed)
    return FUSIONS.get(config.fusion.kind)(dims, labels, lambda dim: make_head(dim, labels, config.head), config.fusion)


def count_parameters(model: nn.Module) -> int:
    """Trained numbers in a model."""
    return sum(parameter.numel() for parameter in model.parameters())
