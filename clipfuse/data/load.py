"""One table, with its pictures, as a dataset."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipfuse.config import TableConfig
from clipfuse.data.columns import Roles, find_roles
from clipfuse.data.dataset import Dataset, ImageRef, ImageSource, LedgerEntry, TableLayout
from clipfuse.data.decode import shorten
from clipfuse.data.images import NeighbourImages, open_images
from clipfuse.data.labels import LabelScheme, find_scheme, sort_labels
from clipfuse.data.numbers import read_numbers
from clipfuse.data.origins import Origins
from clipfuse.data.records import Table, read_table
from clipfuse.errors import DuplicateId, ImageSourceError, TableError
from clipfuse_cache.columns import OptionalStrings, Strings


def load_dataset(config: TableConfig, label_names: Sequence[str] | None = None) -> Dataset:
    """Read ``config.table`` and find its pictures.

    Args:
        config: the table, its pictures and those columns that shall not be found by name.
        label_names: the labels of a trained model, to be used as they are and in this order. A label of the
            table that is none of them is put down in the ledger. Without it: all labels of the table, by value
            where all are integers, else by letter.

    Returns:
        (rows) ids, images and captions, (rows, labels) labels, (rows, columns) numbers. Rows
        and parts that could not be read stand in its ledger.

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
    table, ids, id_guess = _identify(table, roles, ledger)
    references = _references(table, roles)
    images, image_guess = _find_images(config, table, roles, ids, references, ledger)
    captions = _captions(table, roles, ids, ledger)
    numbers = read_numbers(table, roles.numbers, ids, ledger) if roles.numbers else None
    labels, names = _labels(table, scheme, ids, label_names, ledger)
    ledger.sort(key=lambda entry: entry.line)  # stable: within a row the order above
    return Dataset(
        ids=ids,
        images=images,
        captions=captions,
        labels=labels,
        label_names=names,
        origins=Origins.of_file(table.path, table.records.lines),
        layout=TableLayout(
            format=table.format,
            columns=table.columns,
            id_column=roles.id,
            image_column=roles.image,
            caption_column=roles.caption,
            label_column=roles.label,
            form=scheme.form,
            separator=scheme.separator,
            number_columns=roles.numbers,
            guesses=(*table.notes, *id_guess, *roles.guesses, *scheme.guesses, *image_guess),
        ),
        ledger=tuple(ledger),
        references=references,
        splits=Strings.pack(map(str.strip, table.texts(roles.split))) if roles.split is not None else (),
        numbers=numbers,
        number_names=roles.numbers,
    )


def _identify(table: Table, roles: Roles, ledger: list[LedgerEntry]) -> tuple[Table, Strings, tuple[str, ...]]:
    """The table without the rows that have no id, the ids, and what was assumed."""
    lines = table.records.lines
    if roles.id is None:
        if roles.image is not None:
            ids = Strings.pack(map(str.strip, table.texts(roles.image)))
            if all(ids) and ids.places.first_repeated() is None:
                return table, ids, (f"no column of ids; pictures in column {roles.image!r} are the ids",)
        ids = Strings.pack(f"{table.path.stem}:{number}" for number in range(1, len(table) + 1))
        return table, ids, (f"no column of ids; rows are called {ids[0]!r} and so on",)
    ids = Strings.pack(map(str.strip, table.texts(roles.id)))
    nameless = [row for row, name in enumerate(ids) if not name]
    if nameless:
        reason = f"no id in column {roles.id!r}"
        ledger.extend(LedgerEntry("row", reason, str(table.path), lines[row]) for row in nameless)
        if len(nameless) == len(ids):
            problem = f"no row of {table.path} has an id in column {roles.id!r}"
            raise TableError(problem, "Name another with --id-column")
        kept = np.delete(np.arange(len(ids)), nameless)
        table, ids = table.only(kept), Strings.pack(ids[row] for row in kept.tolist())
        lines = table.records.lines
    repeated = ids.places.first_repeated()
    if repeated is not None:
        first, second = repeated
        where = f"at {table.path}:{lines[first]} and at {table.path}:{lines[second]}"
        fix = f"Make the ids in column {roles.id!r} differ, or name another column with --id-column"
        raise DuplicateId(f"id {shorten(ids[first])!r} stands {where}", fix)
    return table, ids, ()


def _references(table: Table, roles: Roles) -> OptionalStrings:
    if roles.image is None:
        return OptionalStrings.absent(len(table))
    return OptionalStrings.pack(text.strip() or None for text in table.texts(roles.image))


def _find_images(
    config: TableConfig,
    table: Table,
    roles: Roles,
    ids: Sequence[str],
    references: Sequence[str | None],
    ledger: list[LedgerEntry],
) -> tuple[tuple[ImageRef | None, ...], tuple[str, ...]]:
    if roles.image is None:
        return (None,) * len(table), ()
    source: ImageSource = NeighbourImages(config.table.parent) if config.images is None else open_images(config.images)
    images = tuple(_find_image(source, reference)[0] for reference in references)
    guesses: tuple[str, ...] = ()
    if config.images is None:
        if not any(images):
            return images, (f"no pictures: none that column {roles.image!r} names lies beside the table",)
        guesses = (f"pictures beside the table, in {source.path}",)
    for row, (image, reference) in enumerate(zip(images, references, strict=True)):
        if image is None:
            reason = _find_image(source, reference)[1]
            ledger.append(LedgerEntry("image", reason, str(config.table), table.records.lines[row], ids[row]))
    return images, guesses


def _find_image(source: ImageSource, reference: str | None) -> tuple[ImageRef | None, str]:
    """The picture that a table calls ``reference``, and why there is none."""
    if reference is None:
        return None, "no picture named"
    where = source.path.name or source.path
    try:
        key = source.find(reference)
    except ImageSourceError as error:
        return None, f"{error.problem} in {where}"
    return None if key is None else ImageRef(source, key), f"no such picture: {shorten(reference, 200)!r} in {where}"


def _captions(table: Table, roles: Roles, ids: Sequence[str], ledger: list[LedgerEntry]) -> OptionalStrings:
    if roles.caption is None:
        return OptionalStrings.absent(len(table))
    captions = OptionalStrings.pack(text if text.strip() else None for text in table.texts(roles.caption))
    ledger.extend(
        LedgerEntry("text", "empty caption", str(table.path), table.records.lines[row], ids[row])
        for row in np.flatnonzero(~captions.present).tolist()
    )
    return captions


def _labels(
    table: Table,
    scheme: LabelScheme,
    ids: Sequence[str],
    known: Sequence[str] | None,
    ledger: list[LedgerEntry],
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """(rows, labels) bool and the labels' names; (None, ()) for an unlabelled table."""
    if scheme.form is None:
        return None, ()
    first = dict.fromkeys(scheme.columns if known is None else known)
    number_of = {name: number for number, name in enumerate(first)}
    rows, numbers = array("q"), array("q")  # which row has which label
    for row, record in enumerate(table.records):
        found, wrong = scheme.read(record)
        for label in found:
            if known is not None and label not in number_of:
                wrong.append(f"unknown label {shorten(label)!r}")
                continue
            rows.append(row)
            numbers.append(number_of.setdefault(label, len(number_of)))
        ledger.extend(LedgerEntry("labels", reason, str(table.path), record.line, ids[row]) for reason in wrong)
    names = tuple(sort_labels(number_of)) if known is None else tuple(known)
    place = {name: number for number, name in enumerate(names)}
    places = np.array([place[name] for name in number_of], dtype=np.int64)
    labels = np.zeros((len(table), len(names)), dtype=np.bool_)
    labels[np.frombuffer(rows, dtype=np.int64), places[np.frombuffer(numbers, dtype=np.int64)]] = True
    return labels, names
