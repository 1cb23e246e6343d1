"""The rows of a split with their features and labels, ready to train on: in memory, or in blocks from the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.data.split import ROLES, Role, Split
from clipfuse.machine import memory_bytes
from clipfuse.select_streams import read_streams
from clipfuse.stream_tables import StreamTables
from clipfuse.streams import Streams, concatenate
from clipfuse.training.rows import Rows, RowsInMemory, wanted
from clipfuse.training.rows_on_disk import RowsOnDisk, block_bounds, locate_rows, row_bytes
from clipfuse_cache import Samples

if TYPE_CHECKING:
    from clipfuse.predictor import Predictor


@dataclass(frozen=True)
class LabelledRows:
    """The rows of a split.

    Attributes:
        ids: in the order of ``rows``: training rows first, then validation and test; from the disk, in its order.
        rows: features and labels.
        index: role -> (n,) int64 positions, rising, on the rows' device.
    """

    ids: tuple[str, ...]
    rows: Rows
    index: Mapping[str, torch.Tensor]

    def truth(self, positions: torch.Tensor) -> NDArray[np.bool_]:
        """(n, labels) bool, the labels of the rows there."""
        return np.asarray(self.rows.targets[positions].cpu().numpy() > 0.5)

    def ask(
        self, predictor: Predictor, positions: torch.Tensor, only: Collection[str] | None = None
    ) -> NDArray[np.float64]:
        """(n, labels) probabilities of the rows at ``positions``, which rise; ``only``: as if they had inputs of these
        modalities alone."""
        found = []
        for block, inside in wanted(self.rows, positions):
            streams = block.streams.rows(inside)
            found.append(predictor.probabilities(streams if only is None else streams.masked(only)))
        return np.concatenate(found) if found else np.zeros((0, self.rows.targets.shape[1]))

    def ask_all(self, predictor: Predictor) -> NDArray[np.float64]:
        """(rows of the split, labels) probabilities of all of them, in their order."""
        return self.ask(predictor, torch.arange(len(self.ids), device=self.rows.targets.device))

    def some(self, positions: torch.Tensor) -> Streams:
        """The features of a few rows; their positions rise."""
        return concatenate([block.streams.rows(inside) for block, inside in wanted(self.rows, positions)])

    def missing(self) -> dict[str, dict[str, int]]:
        """Stream -> role -> how many of the role's rows lack it; they are scored all the same."""
        return {
            name: {role: int((~present[self.index[role]]).sum()) for role in ROLES}
            for name, present in self.rows.present.items()
        }

    def truth_digest(self, labels: Sequence[str]) -> str:
        """SHA-256 over the test rows' labels: scores against other labels are not to be compared."""
        order = sorted(self.index["test"].tolist(), key=lambda row: self.ids[row])
        truth = (self.rows.targets[order] > 0.5).cpu().numpy()
        return hashlib.sha256(json.dumps([list(labels), truth.astype(int).tolist()]).encode()).hexdigest()


def load_rows(
    tables: StreamTables,
    samples: Samples,
    split: Split,
    device: str,
    label_vectors: Mapping[str, torch.Tensor] | None = None,
    *,
    roles: Sequence[Role] = ROLES,
    memory_gb: float | None = None,
) -> LabelledRows:
    """The features of a split's rows, and what is read of the table itself.

    Args:
        tables: what is read.
        samples: with labels.
        split: which rows.
        device: where the features go.
        label_vectors: see :func:`clipfuse.zero_shot.find_label_vectors`.
        roles: of the rows that are looked at.
        memory_gb: what the features may take of memory, in GB; where they take more they stay on disk and are read in
            blocks. None: half of the machine's.

    Raises:
        RowsMissing, CacheCorrupt: features that are not there, or damaged.
    """
    assert samples.labels is not None
    ids = tuple(name for role in roles for name in split.roles[role])
    limit = int(memory_gb * 1e9) if memory_gb is not None else memory_bytes() // 2
    vectors = {name: vector.to(device) for name, vector in (label_vectors or {}).items()}
    on_disk = bool(tables.tables) and 0 < limit < row_bytes(tables) * len(ids)
    if on_disk:
        found, order = locate_rows(tables, ids)
        ids = tuple(ids[row] for row in order)
    places = samples.rows(ids)
    targets = torch.from_numpy(samples.labels[places].astype(np.float32)).to(device)
    own = tables.own.read(samples, device, places)
    groups = None if split.grouping is None else split.grouping.of(ids)
    if on_disk:
        bounds = block_bounds(next(iter(found.values()))[0], row_bytes(tables), limit)
        rows: Rows = RowsOnDisk(tables, found, targets, bounds, own, vectors, groups)
    else:
        streams = read_streams(tables, ids, device).beside(own)
        rows = RowsInMemory(streams, targets, vectors, groups)
    role_of = {name: role for role in roles for name in split.roles[role]}
    number = np.array([roles.index(role_of[name]) for name in ids])
    index = {str(role): torch.from_numpy(np.flatnonzero(number == n)).to(device) for n, role in enumerate(roles)}
    return LabelledRows(ids, rows, index)
