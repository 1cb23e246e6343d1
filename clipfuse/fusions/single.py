"""Fusions of one head: a single stream, or all of them joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

Values = Mapping[str, torch.Tensor]


class SingleFusion(nn.Module):
    """One stream, one head."""

    def __init__(self, stream: str, head: nn.Module) -> None:
        super().__init__()
        self.stream = stream
        self.head = head

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        logits: torch.Tensor = self.head(values[self.stream])
        return logits


class ConcatFusion(nn.Module):
    """One head on the streams' features side by side, in the order of ``streams``."""

    def __init__(self, streams: Sequence[str], head: nn.Module) -> None:
        super().__init__()
        self.streams = tuple(streams)
        self.head = head

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        logits: torch.Tensor = self.head(torch.cat([values[name] for name in self.streams], dim=-1))
        return logits
