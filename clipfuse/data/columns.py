"""Which column of a table holds what: given by name, or found by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath

from clipfuse.config import TableConfig
from clipfuse.data.decode import shorten
from clipfuse.data.image_names import IMAGE_SUFFIXES
from clipfuse.data.records import Table, name_columns
from clipfuse.errors import TableError
from clipfuse.registry import did_you_mean

# Names without case, spaces and signs; the first one that a table has is taken.
# fmt: off
_ID = (
    "id", "imageid", "sampleid", "rowid", "uid", "guid", "uuid", "key", "memeid", "postid",
)
_IMAGE = (
    "image", "imagefile", "imagefilename", "imagename", "imagepath", "filename", "filepath", "file", "path",
    "img", "imgpath", "imgname", "imgfile", "imgid", "picture", "photo", "pic", "imageid",
)
_CAPTION = (
    "caption", "captions", "text", "texts", "sentence", "sentences", "description", "descriptions",
    "imagecaption", "imagetext", "imgtext", "fulltext", "tweet", "comment", "title",
)
_LABELS = (
    "labels", "label", "tags", "tag", "classes", "class", "categories", "category", "targets", "target",
    "genres", "genre",
)
# fmt: on

_PLAIN = re.compile(r"[\W_]+")
_PROBABILITY = re.compile(r"p\(.*\)", re.DOTALL)
_TRUTH = frozenset(("0", "1", "true", "false", "0.0", "1.0"))


@dataclass(frozen=True)
class Roles:
    """The columns by what they hold. ``label_columns``: one 0/1 column per label, or empty. ``numbers``: columns of
    numbers, or empty."""

    id: str | None
    image: str | None
    caption: str | None
    label: str | None
    label_columns: tuple[str, ...]
    split: str | None
    numbers: tuple[str, ...]
    guesses: tuple[str, ...]


def find_roles(table: Table, config: TableConfig, label_names: Sequence[str] | None = None) -> Roles:
    """The roles of a table's columns.

    A column of ids that are picture names (or any, where ``config.images`` is given) also names the pictures.
    ``label_names``, where known, are looked for as 0/1 columns first.

    Raises:
        TableError: a column that ``config`` names is not there, or no column holds pictures or captions.
    """
    guesses: list[str] = []
    taken: set[str] = set(config.label_columns or ())
    given = {
        "id": _given(table, config.id_column, "id_column"),
        "image": _given(table, config.image_column, "image_column"),
        "caption": _given(table, config.caption_column, "caption_column"),
        "label": _given(table, config.label_column, "label_column"),
    }
    taken.update(name for name in given.values() if name is not None)
    split = _given(table, config.split_column, "split_column")
    if split is not None:
        taken.add(split)
    numbers = tuple(dict.fromkeys(_given(table, name, "number_columns") or "" for name in config.number_columns or ()))
    taken.update(numbers)

    def role(key: str, names: Sequence[str], what: str) -> str | None:
        if given[key] is not None:
            return given[key]
        name = _by_name(table.columns, names, taken)
        if name is not None:
            taken.add(name)
            if what:
                guesses.append(f"{what} in column {name!r}")
        return name

    ids = role("id", _ID, "ids")
    image = role("image", _IMAGE, "pictures")
    if image is None and ids is not None and (config.images is not None or _names_pictures(table, ids)):
        image = ids
        guesses.append(f"pictures named by the ids in column {ids!r}")
    caption = role("caption", _CAPTION, "captions")
    label, label_columns = (
        given["label"],
        tuple(_given(table, name, "label_columns") or "" for name in config.label_columns or ()),
    )
    if label is not None and label_columns:
        raise TableError("both --label-column and --label-columns are given", "Give one of them")
    if label is None and not label_columns:
        known = [name for name in label_names or () if name in table.columns and name not in taken]
        if known and len(known) == len(label_names or ()):
            label_columns = tuple(known)
        else:
            label = role("label", _LABELS, "")  # told together with the labels' form
    if label is None and not label_columns:
        label_columns = _truth_columns(table, taken)
        if label_columns:
            guesses.append(f"labels in {len(label_columns)} columns of 0 and 1: {name_columns(label_columns)}")
    if image is None and caption is None:
        problem = f"{table.path} has no column of pictures or captions; its columns are {name_columns(table.columns)}"
        raise TableError(
            problem, "Its first row must name the columns; name them with --image-column or --caption-column"
        )
    if caption is not None and caption in (label, *label_columns):
        raise TableError(f"column {caption!r} is named both for captions and for labels", "Name two columns")
    answers = next((name for name in numbers if name in (label, *label_columns)), None)
    if answers is not None:
        raise TableError(f"column {answers!r} is named both for numbers and for labels", "Name two columns")
    return Roles(ids, image, caption, label, label_columns, split, numbers, tuple(guesses))


def is_truth(text: str) -> bool:
    """Whether a cell says 0, 1, true or false."""
    return text.strip().lower() in _TRUTH


def _given(table: Table, name: str | None, setting: str) -> str | None:
    if name is None or name in table.columns:
        return name
    alike = [column for column in table.columns if column.strip().casefold() == name.strip().casefold()]
    if len(alike) == 1:
        return alike[0]
    hint = did_you_mean(name, [shorten(column) for column in table.columns])
    columns = "" if hint.startswith("Known") else f" Its columns are {name_columns(table.columns)}"
    raise TableError(f"{table.path} has no column {name!r} ({setting})", hint + columns)


def _by_name(columns: Sequence[str], names: Sequence[str], taken: set[str]) -> str | None:
    plain: dict[str, str] = {}
    for column in columns:
        if column not in taken:
            plain.setdefault(_PLAIN.sub("", column.casefold()), column)
    return next((plain[name] for name in names if name in plain), None)


def _names_pictures(table: Table, column: str) -> bool:
    names = [name for text in islice(table.texts(column), 1000) if (name := text.strip())]
    pictures = sum(PurePath(name).suffix.lower() in IMAGE_SUFFIXES for name in names)
    return pictures > 0.5 * len(names)


def _truth_columns(table: Table, taken: set[str]) -> tuple[str, ...]:
    """Two or more remaining columns that hold nothing but 0, 1, true and false. Columns named like written
    probabilities, p(...), are none."""
    found = [
        column
        for column in table.columns
        if column not in taken and not _PROBABILITY.fullmatch(column) and _is_truth_column(table, column)
    ]
    return tuple(found) if len(found) > 1 else ()


def _is_truth_column(table: Table, column: str) -> bool:
    some = False
    for text in table.texts(column):
        if text.strip():
            some = True
            if not is_truth(text):
                return False
    return some
