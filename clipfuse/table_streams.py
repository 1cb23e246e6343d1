"""Streams that no encoder makes: a table's numbers, and its captions as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clipfuse.streams import Streams

NUMBERS = "numbers"
"""Name of the stream, and of its modality."""
CAPTIONS = "text"
"""Name of the stream of captions, where these stand in place of their embeddings."""
LARGEST = 1e30
"""Numbers further from zero count as this: their squares must fit into what models compute in."""
MOST_BYTES = 2048
"""Of a caption: what is longer is cut."""


class Table(Protocol):
    """What both a data set and a cache's samples have."""

    @property
    def captions(self) -> Sequence[str | None]:
        """One a row, or None."""
        ...

    @property
    def number_names(self) -> Sequence[str]:
        """Columns of numbers."""
        ...

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """(rows, columns), NaN where a cell holds none."""
        ...


@dataclass(frozen=True)
class TableStreams:
    """Which of them a model reads.

    Attributes:
        numbers: columns of numbers that stream "numbers" is made of, which comes last.
        caption_bytes: width of stream "text" where it holds captions, 0 where it doesn't.
    """

    numbers: tuple[str, ...] = ()
    caption_bytes: int = 0

    @property
    def dims(self) -> dict[str, int]:
        """Stream -> width."""
        captions = {CAPTIONS: self.caption_bytes} if self.caption_bytes else {}
        return {**captions, **({NUMBERS: len(self.numbers)} if self.numbers else {})}

    def to_dict(self) -> dict[str, Any]:
        """For :meth:`from_dict`, as JSON values."""
        return {"numbers": list(self.numbers), "caption_bytes": self.caption_bytes}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> TableStreams:
        """The opposite of :meth:`to_dict`."""
        return TableStreams(tuple(value["numbers"]), value.get("caption_bytes", 0))

    def lacking(self, table: Table) -> list[str]:
        """Columns that ``table`` does not have."""
        return [name for name in self.numbers if name not in table.number_names]

    def read(self, table: Table, device: str, rows: Sequence[int] | NDArray[np.intp] | None = None) -> Streams:
        """The streams of ``rows`` of ``table``, which has the columns, or of all of them.

        Numbers are (rows, 1, columns) float32, NaN where a cell holds none; a row has them that has any. Captions are
        (rows, 1, caption_bytes) uint8, UTF-8 with zeros behind (see :func:`decode_captions`).
        """
        import torch  # bench opens runs without it

        from clipfuse.streams import Streams

        values, present = {}, {}
        if self.caption_bytes:
            captions = table.captions if rows is None else [table.captions[int(row)] for row in rows]
            values[CAPTIONS] = torch.from_numpy(_encode(captions, self.caption_bytes))[:, None]
            present[CAPTIONS] = torch.tensor([caption is not None for caption in captions], dtype=torch.bool)
        if self.numbers:
            assert table.numbers is not None
            chosen = table.numbers if rows is None else table.numbers[rows]
            cells = chosen[:, [list(table.number_names).index(name) for name in self.numbers]]
            values[NUMBERS] = torch.from_numpy(np.clip(cells, -LARGEST, LARGEST).astype(np.float32))[:, None]
            present[NUMBERS] = torch.from_numpy(np.isfinite(cells).any(axis=1))
        return Streams(values, present).to(device)


def caption_width(captions: Sequence[str | None]) -> int:
    """Bytes of the longest caption, at most ``MOST_BYTES`` and at least 1."""
    longest = max((len(caption.encode()) for caption in captions if caption is not None), default=1)
    return min(max(longest, 1), MOST_BYTES)


def decode_captions(codes: NDArray[Any]) -> list[str]:
    """(rows, bytes) whole numbers of any type -> captions; a character that was cut is left out."""
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in codes.astype(np.uint8)]


def _encode(captions: Sequence[str | None], width: int) -> NDArray[np.uint8]:
    found = np.zeros((len(captions), width), np.uint8)
    for row, caption in enumerate(captions):
        if caption is not None:
            data = caption.encode()[:width]
            found[row, : len(data)] = np.frombuffer(data, np.uint8)
    return found
