"""A table's columns of numbers as a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.streams import Streams

NUMBERS = "numbers"
"""Name of the stream, and of its modality."""
LARGEST = 1e30
"""Numbers further from zero count as this: their squares must fit into what models compute in."""


def with_numbers(
    streams: Streams, columns: Sequence[str], names: Sequence[str], numbers: NDArray[np.float64] | None, device: str
) -> Streams:
    """The streams and one more, last: (rows, 1, columns) float32, NaN where a cell holds none; a row has it that has
    any number.

    Args:
        streams: those of the feature tables.
        columns: what the model reads, in its order; none adds nothing.
        names: the columns of ``numbers``, which hold all of ``columns``.
        numbers: (rows, names), for the rows of ``streams``.
        device: where the stream goes.
    """
    if not columns or numbers is None:
        return streams
    chosen = numbers[:, [list(names).index(column) for column in columns]]
    values = torch.from_numpy(np.clip(chosen, -LARGEST, LARGEST).astype(np.float32))[:, None]
    present = torch.from_numpy(np.isfinite(chosen).any(axis=1))
    return Streams(
        {**streams.values, NUMBERS: values.to(device)}, {**streams.present, NUMBERS: present.to(device)}, streams.views
    )
