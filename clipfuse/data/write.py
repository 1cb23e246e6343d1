"""Predictions, written as the training table was."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import TableLayout
from clipfuse.data.decode import SUFFIXES
from clipfuse.errors import TableError
from clipfuse_cache.atomic import write_bytes

_NEW_ID = ("id", "ImageID", "sample_id", "row_id")


def write_predictions(
    path: Path,
    layout: TableLayout,
    *,
    ids: Sequence[str],
    label_names: Sequence[str],
    predicted: NDArray[np.bool_],
    references: Sequence[str | None] | None = None,
    captions: Sequence[str | None] | None = None,
    probabilities: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Write a table of predicted labels to ``path`` (.csv, .tsv, .json or .jsonl), complete or not at all.

    It has the columns of the training table that hold ids, pictures, captions and labels, in its order and with
    its form of labels; ``load_dataset`` reads it back. Columns whose values are not given are left out.

    Args:
        layout: the training table's. Where it had no column of ids, a column "id" is added unless the pictures'
            names are the ids.
        ids: (rows,).
        label_names: (labels,) columns of the two arrays.
        predicted: (rows, labels) bool.
        references: (rows,) what the input table calls the pictures.
        captions: (rows,).
        probabilities: (rows, labels) in [0, 1]: columns "p(<label>)", or an object "probabilities" in JSON.

    Raises:
        TableError: the suffix is none of the four, or a label holds the layout's separator or a column's name.
        ValueError: shapes do not fit.
        DiskFull, CacheError: the file can't be written; an older one is left as it was.
    """
    kind = check_suffix(path)
    _check(ids, label_names, predicted, references, captions, probabilities)
    columns: dict[str, list[Any]] = {}
    for name, values in _columns(layout, ids, references, captions):
        columns[name] = ["" if value is None else value for value in values]
    _add_labels(columns, layout, label_names, predicted, is_json=kind in ("json", "jsonl"))
    order = {name: place for place, name in enumerate(layout.columns)}
    names = sorted(columns, key=lambda name: order.get(name, -1 if name in _NEW_ID else len(order)))
    rows = [{name: columns[name][row] for name in names} for row in range(len(ids))]
    if kind in ("json", "jsonl"):
        write_bytes(path, _json(rows, label_names, probabilities, lines=kind == "jsonl"))
    else:
        write_bytes(path, _csv(names, rows, label_names, probabilities, "\t" if kind == "tsv" else ","))


def check_suffix(path: Path) -> str:
    """The format that the path's suffix names. Raises TableError where it names none."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise TableError(f"{path} has no suffix of a table", "Name it .csv, .tsv, .json or .jsonl")
    return kind


def _check(
    ids: Sequence[str],
    label_names: Sequence[str],
    predicted: NDArray[np.bool_],
    references: Sequence[str | None] | None,
    captions: Sequence[str | None] | None,
    probabilities: NDArray[np.floating[Any]] | None,
) -> None:
    shape = (len(ids), len(label_names))
    for name, array in (("predicted", predicted), ("probabilities", probabilities)):
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    for name, values in (("references", references), ("captions", captions)):
        if values is not None and len(values) != len(ids):
            raise ValueError(f"{len(values)} {name} for {len(ids)} ids")


def _columns(
    layout: TableLayout,
    ids: Sequence[str],
    references: Sequence[str | None] | None,
    captions: Sequence[str | None] | None,
) -> list[tuple[str, Sequence[str | None]]]:
    """Names and values of the columns that are no labels; the ids win where they are the pictures' names too."""
    found: list[tuple[str, Sequence[str | None]]] = []
    if layout.caption_column is not None and captions is not None:
        found.append((layout.caption_column, captions))
    named = layout.image_column is not None and references is not None
    if layout.image_column is not None and references is not None:
        found.append((layout.image_column, references))
    if layout.id_column is not None:
        found.append((layout.id_column, ids))
    elif not named or list(references or ()) != list(ids):
        used = {layout.caption_column, layout.image_column, layout.label_column}
        found.append((next(name for name in _NEW_ID if name not in used), ids))
    return found


def _add_labels(
    columns: dict[str, list[Any]],
    layout: TableLayout,
    label_names: Sequence[str],
    predicted: NDArray[np.bool_],
    *,
    is_json: bool,
) -> None:
    form = layout.form or ("list" if is_json else "joined")
    if form == "columns":
        for number, name in enumerate(label_names):
            if name in columns:
                raise TableError(
                    f"label {name!r} has the name of another column", "Rename the column in the training table"
                )
            columns[name] = [int(value) for value in predicted[:, number]]
        return
    cells: list[Any] = [[label_names[int(number)] for number in np.flatnonzero(row)] for row in predicted]
    if form == "joined":
        separator = layout.separator or "|"
        torn = [name for name in label_names if separator in name]
        if torn:
            raise TableError(
                f"label {torn[0]!r} holds the separator {separator!r}", "Write to .json, where labels are lists"
            )
        cells = [separator.join(names) for names in cells]
    elif not is_json:
        cells = [json.dumps(names, ensure_ascii=False) for names in cells]
    columns[layout.label_column or "labels"] = cells


def _json(
    rows: list[dict[str, Any]],
    label_names: Sequence[str],
    probabilities: NDArray[np.floating[Any]] | None,
    *,
    lines: bool,
) -> bytes:
    if probabilities is not None:
        for row, values in zip(rows, probabilities.tolist(), strict=True):
            row["probabilities"] = {name: round(value, 6) for name, value in zip(label_names, values, strict=True)}
    if lines:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()


def _csv(
    names: list[str],
    rows: list[dict[str, Any]],
    label_names: Sequence[str],
    probabilities: NDArray[np.floating[Any]] | None,
    delimiter: str,
) -> bytes:
    lines = _Lines()
    # The writer quotes the characters of its own line end only: with "\n", a lone "\r" would tear a row apart.
    writer = csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")
    extra = [] if probabilities is None else [f"p({name})" for name in label_names]
    writer.writerow([*names, *extra])
    for number, row in enumerate(rows):
        scores = [] if probabilities is None else [f"{value:.6f}" for value in probabilities[number].tolist()]
        writer.writerow([*(row[name] for name in names), *scores])
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines).encode()


class _Lines(list[str]):
    """What ``csv.writer`` wants of a file; it writes one row at a time."""

    def write(self, line: str) -> None:
        self.append(line)
