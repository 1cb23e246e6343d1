"""How a row's labels stand in a table, and reading them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clipfuse.config import TableConfig
from clipfuse.data.columns import Roles, is_truth
from clipfuse.data.dataset import LabelForm
from clipfuse.data.decode import shorten
from clipfuse.data.records import Record, Table, cell_text

SEPARATORS = {"|": "a pipe", ";": "a semicolon", ",": "a comma", " ": "a space"}
_INTEGER = re.compile(r"-?[0-9]{1,1000}")
_MAX_LIST = 100_000  # characters of a cell that may be parsed as a list


@dataclass(frozen=True)
class LabelScheme:
    """The form of a table's labels; ``form`` is None for an unlabelled table."""

    form: LabelForm | None
    column: str | None
    columns: tuple[str, ...]
    separator: str | None
    guesses: tuple[str, ...]

    def read(self, record: Record) -> tuple[list[str], list[str]]:
        """The row's labels, each once, in the order of the cell, and what is wrong with it."""
        if self.form == "columns":
            return self._read_columns(record)
        value = record.values.get(self.column or "")
        if self.form == "list" or isinstance(value, list):
            items = _as_list(value)
            if items is None:
                text = cell_text(value).strip()
                if text[:1] == "[":
                    return [], [f"{shorten(text)!r} is not a JSON list"]
                items = [value]
            wrong = [f"{shorten(repr(item))} is no label" for item in items if isinstance(item, list | dict)]
            return _unique(cell_text(item) for item in items if not isinstance(item, list | dict)), wrong
        if isinstance(value, dict):
            return [], [f"{shorten(repr(value))} is no label"]
        return _unique(split(cell_text(value), self.separator or "")), []

    def _read_columns(self, record: Record) -> tuple[list[str], list[str]]:
        names, wrong = [], []
        for column in self.columns:
            cell = record.text(column).strip()
            if cell and not is_truth(cell):
                wrong.append(f"{shorten(cell)!r} in column {column!r} is neither 0 nor 1")
            elif cell.lower() in ("1", "1.0", "true"):
                names.append(column)
        return names, wrong


def find_scheme(
    table: Table, roles: Roles, config: TableConfig, label_names: Sequence[str] | None = None
) -> LabelScheme:
    """The form of the labels, given by ``config`` or found in the cells; known ``label_names`` are evidence."""
    if roles.label_columns:
        return LabelScheme("columns", None, roles.label_columns, None, ())
    if roles.label is None:
        return LabelScheme(None, None, (), None, ())
    where = f"labels in column {roles.label!r}"
    if config.separator is None:
        if any(isinstance(value, list) for value in table.records.values(roles.label)) or _all_lists(
            table.texts(roles.label)
        ):
            return LabelScheme("list", roles.label, (), None, (f"{where}, as lists",))
        separator, how = find_separator((text.strip() for text in table.texts(roles.label)), label_names)
        return LabelScheme("joined", roles.label, (), separator, (f"{where}, {how}",))
    return LabelScheme("joined", roles.label, (), config.separator, () if config.label_column else (where,))


def split(cell: str, separator: str) -> list[str]:
    """The labels of a joined cell, without the spaces around them; empty ones left out."""
    return [name for part in cell.split(separator) if (name := part.strip())] if separator else [cell.strip()]


def sort_labels(names: Iterable[str]) -> list[str]:
    """Each name once: by value where all are integers, else by letter."""
    unique = set(names)
    if all(_INTEGER.fullmatch(name) for name in unique):
        return sorted(unique, key=lambda name: (int(name), name))
    return sorted(unique, key=lambda name: (name.casefold(), name))


def find_separator(cells: Iterable[str], known: Sequence[str] | None = None) -> tuple[str, str]:
    """The separator of joined labels, and words that tell how it was found.

    A pipe or a semicolon always separates. A comma or a space does only if the parts are labels in their own
    right: names of labels may hold them ("Smears, Slurs", "Loaded Language").
    """
    counts: dict[str, int] = {}
    for cell in cells:
        if cell:
            counts[cell] = counts.get(cell, 0) + 1
    if known:
        return _known_separator(counts, set(known))
    for sign, plausible in (("|", _always), (";", _always), (",", _commas_separate), (" ", _spaces_separate)):
        if any(sign in cell for cell in counts) and plausible(counts):
            return sign, f"separated by {SEPARATORS[sign]}"
    return _unused(counts), "one label per row"


def _always(counts: dict[str, int]) -> bool:
    return True


def _commas_separate(counts: dict[str, int]) -> bool:
    """Not if each cell with commas comes again and again and its parts are never seen without each other, and
    a space follows each comma, as in a name."""
    owners = _owners(counts, ",")
    joined = {cell: count for cell, count in counts.items() if len(split(cell, ",")) > 1}
    if not joined:
        return True
    if all(part.isdigit() for part in owners) or any(cell.count(",") > cell.count(", ") for cell in counts):
        return True
    alone = all(len(owners[part]) == 1 for cell in joined for part in split(cell, ","))
    return not (alone and sum(joined.values()) >= 3 * len(joined))


def _spaces_separate(counts: dict[str, int]) -> bool:
    """Numbers, or words that are combined anew: no more of them than different cells, and none of the cells
    with several is made of words of its own only."""
    owners = _owners(counts, " ")
    if all(part.isdigit() for part in owners):
        return True
    joined = [parts for cell in counts if len(parts := split(cell, " ")) > 1]
    return len(owners) <= len(counts) and all(any(len(owners[part]) > 1 for part in parts) for parts in joined)


def _owners(counts: dict[str, int], sign: str) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = {}
    for cell in counts:
        for part in set(split(cell, sign)):
            owners.setdefault(part, []).append(cell)
    return owners


def _known_separator(counts: dict[str, int], known: set[str]) -> tuple[str, str]:
    """The separator that gives most known labels; none at all wins a draw, then the order of SEPARATORS."""

    def share(sign: str) -> float:
        parts = [part for cell in counts for part in split(cell, sign)]
        return sum(part in known for part in parts) / max(1, len(parts))

    used = [sign for sign in SEPARATORS if any(sign in cell for cell in counts)]
    best = max(["", *used], key=share)
    if best:
        return best, f"separated by {SEPARATORS[best]}"
    if share("") > 0:
        return _unused([*counts, *known]), "one label per row"
    return find_separator(cell for cell, count in counts.items() for _ in range(count))


def _unused(names: Iterable[str]) -> str:
    """A separator that no name holds, for writing several labels where each row had one."""
    taken = {sign for name in names for sign in SEPARATORS if sign in name}
    return next((sign for sign in (" ", "|", ";", ",") if sign not in taken), "||")


def _all_lists(texts: Iterable[str]) -> bool:
    """Whether all cells begin like lists, and the first one is one."""
    cells = (cell for text in texts if (cell := text.strip()))
    first = next(cells, "")
    return first[:1] == "[" and _as_list(first) is not None and all(cell[0] == "[" for cell in cells)


def _as_list(value: object) -> list[object] | None:
    """The list that a cell is or spells, as JSON or as Python writes it; None: it is none. Null is no label."""
    if isinstance(value, list):
        return [item for item in value if item is not None]
    text = cell_text(value).strip()
    if not text:
        return []
    if text[0] != "[" or len(text) > _MAX_LIST:
        return None
    for parse in (json.loads, ast.literal_eval):  # neither can run code
        try:
            items = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(items, list):
            return [item for item in items if item is not None]
    return None


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for text in names if (name := text.strip())))
