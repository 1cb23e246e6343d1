"""JSON and JSON Lines to objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipfuse.errors import TableError

Objects = list[tuple[int, dict[str, Any]]]
Lost = list[tuple[int, str]]

_SHAPE = "A table is an array of objects: [{...}, {...}], or an object that holds one such array"


def read_json(path: Path, text: str) -> tuple[Objects, Lost, bool]:
    """(record number, object) of each record, (record number, reason) of those that are no objects, and
    whether the file turned out to be JSON Lines.

    Raises:
        TableError: not JSON, or neither an array nor an object that holds one.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip()[:1] == "{":
            objects, lost = read_json_lines(text)
            if objects:
                return objects, lost, True
        raise TableError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            "Mend that place, or save the table as .jsonl or .csv",
        ) from None
    except RecursionError:
        raise TableError(f"{path} is nested too deeply to be a table", _SHAPE) from None
    except ValueError as error:  # a number of thousands of digits
        raise TableError(f"{path} can't be read: {error}", _SHAPE) from None
    objects, lost = [], []
    for number, item in enumerate(_array(path, document), start=1):
        if isinstance(item, dict):
            objects.append((number, item))
        else:
            lost.append((number, f"{_kind(item)} where an object was expected"))
    return objects, lost, False


def read_json_lines(text: str) -> tuple[Objects, Lost]:
    """(line, object) of each line that holds one, (line, reason) of the others. Blank lines are passed over."""
    objects: Objects = []
    lost: Lost = []
    # Not splitlines(): a line separator (U+2028) may stand inside a JSON string.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            lost.append((number, f"not valid JSON: column {error.colno}: {error.msg}"))
        except RecursionError:
            lost.append((number, "nested too deeply"))
        except ValueError as error:
            lost.append((number, str(error)))
        else:
            if isinstance(item, dict):
                objects.append((number, item))
            else:
                lost.append((number, f"{_kind(item)} where an object was expected"))
    return objects, lost


def _array(path: Path, document: object) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        arrays = {key: value for key, value in document.items() if isinstance(value, list)}
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        if arrays:
            raise TableError(f"{path} holds several arrays: {', '.join(map(repr, list(arrays)[:8]))}", _SHAPE)
    raise TableError(f"{path} holds {_kind(document)}, not a table", _SHAPE)


def _kind(item: object) -> str:
    if item is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}
    return names.get(type(item), "a number")
