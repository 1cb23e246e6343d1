"""What stands before every fusion: streams are standardised, and absent inputs replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import nn

from clipfuse.scaler import Scaler
from clipfuse.stream_model import StreamModel

Absent = Literal["learned", "zeros"]


class ModelInputs(nn.Module):
    """Every stream through its scaler; rows that lack it get a learned vector, or zeros (the training mean).

    Args:
        dims: stream -> width.
        absent: what stands for an absent input. A learned one starts as zeros, and learns only where training rows
            lack the input or lose it (``modality_dropout``).
        scaled: streams whose scalers training sets; the others stay as they come. None: all.
    """

    def __init__(self, dims: Mapping[str, int], absent: Absent, scaled: Collection[str] | None = None) -> None:
        super().__init__()
        self._streams = tuple(dims)
        self.complete: tuple[str, ...] = ()
        self.scaled = frozenset(dims if scaled is None else scaled)
        self.scalers = nn.ModuleDict({name: Scaler(dim) for name, dim in dims.items()})
        learned = {name: nn.Parameter(torch.zeros(dim)) for name, dim in dims.items()} if absent == "learned" else {}
        self.absent = nn.ParameterDict(learned)

    @property
    def streams(self) -> tuple[str, ...]:
        """What it takes, in order."""
        return self._streams

    def scaler(self, stream: str) -> Scaler:
        """A stream's scaler."""
        found = self.scalers[stream]
        assert isinstance(found, Scaler)
        return found

    def learn_absent(self, train: Mapping[str, torch.Tensor], *, dropped: bool) -> None:
        """Let those vectors learn that training will show: a frozen one spares the gradient of the whole input.

        Args:
            train: stream -> (rows,) bool, what the training rows have.
            dropped: whether training rows lose inputs.
        """
        complete = {name: not dropped and bool(train[name].all()) for name in self._streams}
        self.complete = tuple(name for name, is_complete in complete.items() if is_complete)
        for name, vector in self.absent.items():
            vector.requires_grad_(name not in self.complete)

    def forward(
        self, values: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> {stream: (batch, tokens, dim) float32}."""
        scaled = {}
        for name, scaler in self.scalers.items():
            if self.training and name in self.complete:
                scaled[name] = scaler(values[name])
                continue
            absent = self.absent[name] if name in self.absent else torch.zeros((), device=values[name].device)
            scaled[name] = torch.where(present[name][..., None, None], scaler(values[name]), absent)
        return scaled


class JointModel(StreamModel):
    """A fusion with what stands before it: raw streams in, logits out. What one fit trains."""

    def __init__(self, inputs: ModelInputs, fusion: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.fusion = fusion

    @property
    def streams(self) -> tuple[str, ...]:
        """What it reads."""
        return self.inputs.streams

    def forward(self, values: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        logits: torch.Tensor = self.fusion(self.inputs(values, present), present)
        return logits
