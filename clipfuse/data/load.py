"""One table, with its pictures, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipfuse.config import TableConfig
from clipfuse.data.columns import Roles, find_roles
from clipfuse.data.dataset import Dataset, ImageRef, ImageSource, LedgerEntry, Origin, TableLayout
from clipfuse.data.decode import shorten
from clipfuse.data.images import NeighbourImages, open_images
from clipfuse.data.labels import LabelScheme, find_scheme, sort_labels
from clipfuse.data.records import Record, Table, read_table
from clipfuse.errors import DuplicateId, ImageSourceError, TableError


def load_dataset(config: TableConfig, label_names: Sequence[str] | None = None) -> Dataset:
    """Read ``config.table`` and find its pictures.

    Args:
        config: the table, its pictures and those columns that shall not be found by name.
        label_names: the labels of a trained model, to be used as they are and in this order. A label of the
            table that is none of them is put down in the ledger. Without it: all labels of the table, by value
            where all are integers, else by letter.

    Returns:
        (rows) ids, images and captions, (rows, labels) labels. Rows and parts that could not be read stand in
        its ledger.

    Raises:
        TableError: the table can't be read, or a column that is given or needed is not there.
        DuplicateId: an id stands on two rows.
        ImageSourceError: ``config.images`` can't be opened.
    """
    table = read_table(config.table)
    roles = find_roles(table, config, label_names)
    if config.images is not None and roles.image is None:
        fix = "Name the column of the pictures with --image-column, or leave the pictures out"
        raise TableError(f"{table.path} has no column that names the pictures in {config.images}", fix)
    scheme = find_scheme(table, roles, config, label_names)
    ledger = list(table.ledger)
    records, ids, id_guess = _identify(table, roles, ledger)
    references = tuple(record.text(roles.image).strip() or None for record in records)
    images, image_guess = _find_images(config, roles, records, ids, references, ledger)
    captions = _captions(roles, records, ids, table.path, ledger)
    labels, names = _labels(scheme, records, ids, table.path, label_names, ledger)
    ledger.sort(key=lambda entry: entry.line)  # stable: within a row the order above
    return Dataset(
        ids=ids,
        images=images,
        captions=captions,
        labels=labels,
        label_names=names,
        origins=tuple(Origin(table.path, record.line) for record in records),
        layout=TableLayout(
            format=table.format,
            columns=table.columns,
            id_column=roles.id,
            image_column=roles.image,
            caption_column=roles.caption,
            label_column=roles.label,
            form=scheme.form,
            separator=scheme.separator,
            guesses=(*table.notes, *id_guess, *roles.guesses, *scheme.guesses, *image_guess),
        ),
        ledger=tuple(ledger),
        references=references,
        splits=tuple(record.text(roles.split).strip() for record in records) if roles.split is not None else (),
    )


def _identify(
    table: Table, roles: Roles, ledger: list[LedgerEntry]
) -> tuple[list[Record], tuple[str, ...], tuple[str, ...]]:
    """The rows that have an id, their ids, and what was assumed."""
    if roles.id is None:
        ids = tuple(record.text(roles.image).strip() for record in table.records)
        if all(ids) and len(set(ids)) == len(ids):
            return table.records, ids, (f"no column of ids; pictures in column {roles.image!r} are the ids",)
        ids = tuple(f"{table.path.stem}:{number}" for number in range(1, len(table.records) + 1))
        return table.records, ids, (f"no column of ids; rows are called {ids[0]!r} and so on",)
    kept: dict[str, Record] = {}
    for record in table.records:
        name = record.text(roles.id).strip()
        if not name:
            reason = f"no id in column {roles.id!r}"
            ledger.append(LedgerEntry("row", reason, str(table.path), record.line))
            continue
        if name in kept:
            problem = f"id {shorten(name)!r} stands at {table.path}:{kept[name].line} and at {table.path}:{record.line}"
            fix = f"Make the ids in column {roles.id!r} differ, or name another column with --id-column"
            raise DuplicateId(problem, fix)
        kept[name] = record
    if not kept:
        raise TableError(f"no row of {table.path} has an id in column {roles.id!r}", "Name another with --id-column")
    return list(kept.values()), tuple(kept), ()


def _find_images(
    config: TableConfig,
    roles: Roles,
    records: list[Record],
    ids: tuple[str, ...],
    references: tuple[str | None, ...],
    ledger: list[LedgerEntry],
) -> tuple[tuple[ImageRef | None, ...], tuple[str, ...]]:
    if roles.image is None:
        return (None,) * len(records), ()
    file = str(config.table)
    source: ImageSource = NeighbourImages(config.table.parent) if config.images is None else open_images(config.images)
    images: list[ImageRef | None] = []
    wrong: list[LedgerEntry] = []
    for record, name, reference in zip(records, ids, references, strict=True):
        key, reason = None, "no picture named"
        if reference is not None:
            try:
                key = source.find(reference)
                reason = f"no such picture: {shorten(reference, 200)!r} in {source.path.name or source.path}"
            except ImageSourceError as error:
                reason = f"{error.problem} in {source.path.name or source.path}"
        images.append(None if key is None else ImageRef(source, key))
        if key is None:
            wrong.append(LedgerEntry("image", reason, file, record.line, name))
    if config.images is None:
        if not any(images):
            return tuple(images), (f"no pictures: none that column {roles.image!r} names lies beside the table",)
        ledger.extend(wrong)
        return tuple(images), (f"pictures beside the table, in {source.path}",)
    ledger.extend(wrong)
    return tuple(images), ()


def _captions(
    roles: Roles, records: list[Record], ids: tuple[str, ...], path: Path, ledger: list[LedgerEntry]
) -> tuple[str | None, ...]:
    if roles.caption is None:
        return (None,) * len(records)
    captions: list[str | None] = []
    for record, name in zip(records, ids, strict=True):
        caption = record.text(roles.caption)
        blank = not caption.strip()
        captions.append(None if blank else caption)
        if blank:
            ledger.append(LedgerEntry("text", "empty caption", str(path), record.line, name))
    return tuple(captions)


def _labels(
    scheme: LabelScheme,
    records: list[Record],
    ids: tuple[str, ...],
    path: Path,
    known: Sequence[str] | None,
    ledger: list[LedgerEntry],
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """(rows, labels) bool and the labels' names; (None, ()) for an unlabelled table."""
    if scheme.form is None:
        return None, ()
    rows = []
    for record, name in zip(records, ids, strict=True):
        found, wrong = scheme.read(record)
        rows.append(found)
        ledger.extend(LedgerEntry("labels", reason, str(path), record.line, name) for reason in wrong)
    if known is None:
        names = tuple(sort_labels([*scheme.columns, *(label for row in rows for label in row)]))
    else:
        names = tuple(known)
    column = {name: number for number, name in enumerate(names)}
    labels = np.zeros((len(rows), len(names)), dtype=np.bool_)
    for number, (found, record) in enumerate(zip(rows, records, strict=True)):
        for label in found:
            if label in column:
                labels[number, column[label]] = True
            else:
                reason = f"unknown label {shorten(label)!r}"
                ledger.append(LedgerEntry("labels", reason, str(path), record.line, ids[number]))
    return labels, names
