"""What a table of samples becomes in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.origins import Origins
from clipfuse.errors import DuplicateId, TableError
from clipfuse_cache.columns import OptionalStrings, Strings, places_of

Part = Literal["row", "image", "text", "labels", "numbers"]
LabelForm = Literal["joined", "list", "columns"]


class ImageSource(Protocol):
    """A folder or archive of pictures, read in place. Safe to read from several threads."""

    path: Path

    def find(self, reference: str) -> str | None:
        """The key of the picture that a table calls ``reference``, or None where there is none.

        Raises:
            ImageSourceError: the reference may mean several pictures; the message names two of them.
        """
        ...

    def read(self, key: str) -> bytes:
        """The picture's file as it is. Raises OSError where it can't be read."""
        ...

    def stamp(self, key: str) -> int:
        """A number that changes when the picture's file does, without reading it (size, time, place)."""
        ...


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One picture of one source."""

    source: ImageSource
    key: str

    def read(self) -> bytes:
        """The picture's file as it is. Raises OSError where it can't be read."""
        return self.source.read(self.key)

    def stamp(self) -> int:
        """A number that changes when the picture's file does."""
        return self.source.stamp(self.key)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Something that was wrong with one row. ``part`` "row" means that the whole row was left out;
    otherwise the row is kept and only that part of it is missing."""

    part: Part
    reason: str
    file: str
    line: int
    id: str | None = None

    def __str__(self) -> str:
        name = f" ({self.id})" if self.id is not None else ""
        return f"{self.file}:{self.line}{name}: {self.part}: {self.reason}"


@dataclass(frozen=True)
class TableLayout:
    """How a table was written, so that predictions can be written in the same way.

    ``form`` says how a row's labels stand: "joined" by ``separator`` in ``label_column``; a JSON "list" in
    ``label_column``; or one 0/1 column per label ("columns", named by ``label_names``).
    ``columns`` is the table's own order of its columns (or JSON keys).
    """

    format: Literal["csv", "tsv", "json", "jsonl"]
    columns: tuple[str, ...]
    id_column: str | None
    image_column: str | None
    caption_column: str | None
    label_column: str | None
    form: LabelForm | None
    separator: str | None = None
    guesses: tuple[str, ...] = ()
    number_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Samples in the order of their table. All that has a value per row has the same length; strings may stand in a
    compact form that makes each when it is asked for (see :mod:`clipfuse_cache.columns`).

    Attributes:
        ids: unique, non-empty strings.
        images: None where the row has no picture or its picture is missing (then the ledger says so).
        captions: None where the row has no caption; never an empty or blank string.
        labels: (rows, labels) bool; None for an unlabelled table. A row of False: no label applies.
        label_names: the columns of ``labels``, in a fixed order; empty for an unlabelled table.
        origins: file and line of each row.
        layout: how the (first) table was written.
        ledger: rows left out and parts missing, in table order.
        references: what the table calls each row's picture, whether or not there is one; None where it names
            none. Predictions are written with it.
        splits: what the table's split column says of each row; empty where none was named.
        numbers: (rows, number columns) float64, finite, or NaN where a cell is empty or no number; None where no
            column of numbers was named.
        number_names: the columns of ``numbers``.
    """

    ids: Sequence[str]
    images: tuple[ImageRef | None, ...]
    captions: Sequence[str | None]
    labels: NDArray[np.bool_] | None
    label_names: tuple[str, ...]
    origins: Origins
    layout: TableLayout
    ledger: tuple[LedgerEntry, ...] = field(default=())
    references: Sequence[str | None] = field(default=())
    splits: Sequence[str] = field(default=())
    numbers: NDArray[np.float64] | None = None
    number_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, file: Path) -> NDArray[np.int64]:
        """(n,) int64 indices of the rows that came from ``file``."""
        return self.origins.rows_of(file)


def concatenate(datasets: Sequence[Dataset]) -> Dataset:
    """Several tables as one dataset; names of labels and of numbers are united, those of the first table first.

    The layout is the first table's, with the guesses of all. A label that a table does not know is False in
    its rows, a number that it does not have is NaN.

    Raises:
        DuplicateId: an id stands in two tables.
        TableError: one table is labelled and another is not.
        ValueError: there is nothing to concatenate.
    """
    if not datasets:
        raise ValueError("no datasets to concatenate")
    first = datasets[0]
    if len(datasets) == 1:
        return first
    ids = Strings.pack(name for dataset in datasets for name in dataset.ids)
    origins = Origins.join([dataset.origins for dataset in datasets])
    _check_ids(ids, origins)
    for other in datasets[1:]:
        if (other.labels is None) != (first.labels is None):
            labelled, bare = (first, other) if other.labels is None else (other, first)
            problem = f"{_file(labelled)} has labels and {_file(bare)} has none"
            raise TableError(problem, "Give tables that are all labelled, or none of them")
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.label_names))
    number_names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.number_names))
    separator = first.layout.separator if first.layout.form == "joined" else None
    torn = [name for name in names if separator is not None and separator in name]
    if torn:
        problem = f"label {torn[0]!r} holds {separator!r}, which separates the labels of {_file(first)}"
        raise TableError(problem, "Write both tables' labels in one way, or name a --separator that no label holds")
    guesses = tuple(dict.fromkeys(guess for dataset in datasets for guess in dataset.layout.guesses))
    return Dataset(
        ids=ids,
        images=tuple(image for dataset in datasets for image in dataset.images),
        captions=OptionalStrings.pack(caption for dataset in datasets for caption in dataset.captions),
        labels=None if first.labels is None else np.concatenate([_widen(dataset, names) for dataset in datasets]),
        label_names=names,
        origins=origins,
        layout=replace(first.layout, guesses=guesses),
        ledger=tuple(entry for dataset in datasets for entry in dataset.ledger),
        references=OptionalStrings.pack(
            name for dataset in datasets for name in dataset.references or (None,) * len(dataset)
        ),
        splits=Strings.pack(name for dataset in datasets for name in dataset.splits or ("",) * len(dataset))
        if any(dataset.splits for dataset in datasets)
        else (),
        numbers=np.concatenate([_widen_numbers(dataset, number_names) for dataset in datasets])
        if number_names
        else None,
        number_names=number_names,
    )


def _check_ids(ids: Sequence[str], origins: Origins) -> None:
    repeated = places_of(ids).first_repeated()
    if repeated is not None:
        other, origin = (origins[row] for row in repeated)
        problem = f"id {ids[repeated[0]]!r} stands at {other.file}:{other.line} and at {origin.file}:{origin.line}"
        raise DuplicateId(problem, "Ids must differ between all tables; rename it in one of them")


def _widen(dataset: Dataset, names: Sequence[str]) -> NDArray[np.bool_]:
    """(rows, len(names)) bool: the dataset's labels in the columns of ``names``."""
    wide = np.zeros((len(dataset), len(names)), dtype=np.bool_)
    if dataset.labels is not None and dataset.label_names:
        wide[:, [names.index(name) for name in dataset.label_names]] = dataset.labels
    return wide


def _widen_numbers(dataset: Dataset, names: Sequence[str]) -> NDArray[np.float64]:
    """(rows, len(names)) float64: the dataset's numbers in the columns of ``names``."""
    wide = np.full((len(dataset), len(names)), np.nan)
    if dataset.numbers is not None:
        wide[:, [names.index(name) for name in dataset.number_names]] = dataset.numbers
    return wide


def _file(dataset: Dataset) -> str:
    return str(dataset.origins[0].file) if len(dataset) else "an empty table"
