"""What every trainable model is to the loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import nn


class StreamModel(nn.Module):
    """Streams to logits."""

    @property
    @abstractmethod
    def streams(self) -> tuple[str, ...]:
        """The streams that it reads, in order."""

    @abstractmethod
    def forward(self, values: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
