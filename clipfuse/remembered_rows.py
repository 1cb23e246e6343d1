"""Rows that several trainings read, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from clipfuse.data.split import Split
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.stream_tables import StreamTables
from clipfuse_cache import Samples


class LoadRows(Protocol):
    """Whatever gives the rows of a split: :func:`clipfuse.labelled_rows.load_rows`, or ``RememberedRows().load``."""

    def __call__(
        self,
        tables: StreamTables,
        samples: Samples,
        split: Split,
        device: str,
        label_vectors: Mapping[str, torch.Tensor] | None = None,
        *,
        memory_gb: float | None = None,
    ) -> LabelledRows:
        """As ``load_rows``, of every role."""
        ...


class RememberedRows:
    """Keeps the rows that were asked for last, and gives them again to who asks for the same."""

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] | None = None
        self._samples: Samples | None = None
        self._split: Split | None = None
        self._rows: LabelledRows | None = None

    def load(
        self,
        tables: StreamTables,
        samples: Samples,
        split: Split,
        device: str,
        label_vectors: Mapping[str, torch.Tensor] | None = None,
        *,
        memory_gb: float | None = None,
    ) -> LabelledRows:
        """As :func:`load_rows`, of every role."""
        if label_vectors:
            return load_rows(tables, samples, split, device, label_vectors, memory_gb=memory_gb)
        asked = (_contents(tables), tables.own, device, memory_gb)
        if self._rows is None or asked != self._asked or samples is not self._samples or split is not self._split:
            self._rows = None  # before others are read: they may not fit beside each other
            self._rows = load_rows(tables, samples, split, device, memory_gb=memory_gb)
            self._asked, self._samples, self._split = asked, samples, split
        return self._rows


def _contents(tables: StreamTables) -> dict[str, list[tuple[Any, ...]]]:
    """Stream -> which tables it is read from, and what these hold."""
    return {name: [(one.folder, one.manifest) for one in tables.with_views(name)] for name in tables}
