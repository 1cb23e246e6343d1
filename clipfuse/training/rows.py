"""Where the loop takes rows from: blocks of them, the whole table at once where it fits in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.data.splits import folds
from clipfuse.errors import ConfigError
from clipfuse.streams import Streams


@dataclass(frozen=True)
class Block:
    """Neighbouring rows that are in memory together: those from ``start`` up to ``stop``."""

    start: int
    stop: int
    streams: Streams


class Rows(Protocol):
    """All rows that a training looks at, whatever their role.

    Attributes:
        targets: (rows, labels) float32 on the device that computes; zeros where nothing is known.
        present: stream -> (rows,) bool on that device.
        groups: (rows,) int64 on the CPU, rows of one number belong together and go into one fold; None: each alone.
        label_vectors: stream -> (labels, dim), what the labels' names say in its space; for zero-shot heads only.
    """

    @property
    def targets(self) -> torch.Tensor:
        """(rows, labels)."""
        ...

    @property
    def present(self) -> Mapping[str, torch.Tensor]:
        """Stream -> (rows,)."""
        ...

    @property
    def dims(self) -> dict[str, int]:
        """Stream -> width, in the order in which they are joined."""
        ...

    @property
    def label_vectors(self) -> Mapping[str, torch.Tensor]:
        """Stream -> (labels, dim)."""
        ...

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """(rows,)."""
        ...

    @property
    def bounds(self) -> Sequence[tuple[int, int]]:
        """Start and stop of every block, in the rows' order."""
        ...

    def blocks(self, generator: torch.Generator | None = None) -> Iterator[Block]:
        """Every row once, in an order of blocks that ``generator`` draws, or in the rows' order."""
        ...


@dataclass(frozen=True)
class RowsInMemory:
    """Streams and targets that are on the device as they are: one block."""

    streams: Streams
    targets: torch.Tensor
    label_vectors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    @property
    def present(self) -> Mapping[str, torch.Tensor]:
        """Stream -> (rows,)."""
        return self.streams.present

    @property
    def dims(self) -> dict[str, int]:
        """Stream -> width."""
        return {name: value.shape[-1] for name, value in self.streams.values.items()}

    @property
    def bounds(self) -> Sequence[tuple[int, int]]:
        """All rows."""
        return [(0, len(self.targets))]

    def blocks(self, generator: torch.Generator | None = None) -> Iterator[Block]:
        """The one block."""
        yield Block(0, len(self.targets), self.streams)


def wanted(rows: Rows, positions: torch.Tensor) -> Iterator[tuple[Block, torch.Tensor]]:
    """Each block that holds any of the rows at ``positions``, which rise, in the rows' order; and the places of those
    within it, (n,) int64."""
    for block in rows.blocks():
        inside = positions[(positions >= block.start) & (positions < block.stop)] - block.start
        if len(inside):
            yield block, inside


def fold_rows(
    rows: Rows, train: torch.Tensor, count: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places in ``train`` (positions) inside and outside of each fold; rows of one group are never parted."""
    truth = rows.targets[train].cpu().numpy() > 0.5
    groups = None if rows.groups is None else rows.groups[train.cpu().numpy()]
    return folds(truth, count, seed, groups=groups)


def in_memory(rows: Rows, who: str) -> RowsInMemory:
    """The rows, which ``who`` can't work with in blocks. Raises ConfigError where they are on disk."""
    if isinstance(rows, RowsInMemory):
        return rows
    raise ConfigError(
        f"the features don't fit into the memory that they may take, and {who} can't read them in blocks",
        "Raise --memory-gb, or choose a head and options that are trained in steps",
    )
