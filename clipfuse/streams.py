"""Features in memory: one tensor a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from clipfuse.scaler import Scaler


@dataclass(frozen=True)
class Streams:
    """Rows of one or more streams.

    Attributes:
        values: stream -> (rows, tokens, dim) float tensor.
        present: stream -> (rows,) bool; False where the row has no such input or it could not be read.
    """

    values: Mapping[str, torch.Tensor]
    present: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def rows(self, index: torch.Tensor | slice) -> Streams:
        """Some of the rows."""
        return Streams(
            {name: value[index] for name, value in self.values.items()},
            {name: value[index] for name, value in self.present.items()},
        )

    def only(self, names: Sequence[str]) -> Streams:
        """Some of the streams."""
        return Streams({name: self.values[name] for name in names}, {name: self.present[name] for name in names})

    def to(self, device: str) -> Streams:
        """The same on another device."""
        return Streams(
            {name: value.to(device) for name, value in self.values.items()},
            {name: value.to(device) for name, value in self.present.items()},
        )

    def joined(self) -> torch.Tensor:
        """(rows, total dim): the first token of every stream side by side, streams in their order."""
        return torch.cat([value[:, 0] for value in self.values.values()], dim=-1)


def fit_scalers(streams: Streams, index: torch.Tensor) -> dict[str, Scaler]:
    """A scaler for each stream, fitted on the rows ``index``."""
    scalers = {}
    for name, values in streams.values.items():
        scalers[name] = Scaler(values.shape[-1]).to(values.device)
        scalers[name].fit(values[index], streams.present[name][index])
    return scalers


def scale(streams: Streams, scalers: Mapping[str, Scaler]) -> Streams:
    """Every stream through its scaler: float32, zeros where a row has no such input."""
    return Streams(
        {name: scalers[name](values, streams.present[name]) for name, values in streams.values.items()},
        streams.present,
    )
