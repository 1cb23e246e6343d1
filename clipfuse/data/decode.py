"""A table's bytes as text, and the one clear error where a file is no text."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from clipfuse.errors import TableError

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}

_MAGIC = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PAR1": "a parquet file",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\xff\xfe\0\0": "in UTF-32",
    b"\0\0\xfe\xff": "in UTF-32",
}
_FIX = "Save it as .csv, .tsv, .json or .jsonl in UTF-8"
_ESCAPED = re.compile("[\udc80-\udcff]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of ``path`` without its byte order mark, and notes on how it had to be decoded.

    Bytes that are not UTF-8 are read as Windows-1252, which is what a stray accent nearly always is.

    Raises:
        TableError: no such file, a directory, not readable, empty or not text.
    """
    data = _read_bytes(path)
    if not data.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise TableError(f"{path} is empty", "It needs a line of column names and at least one row")
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            raise TableError(f"{path} is {kind}, not a text table", _FIX)
    utf16 = _utf16(data)
    if utf16:
        try:
            return data.decode(utf16).removeprefix("\ufeff"), (f"{path.name} read as UTF-16",)
        except UnicodeDecodeError:
            raise TableError(f"{path} is not text", _FIX) from None
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return _mostly_utf8(path, data)


def shorten(text: str, limit: int = 60) -> str:
    """``text`` for a message: no longer than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean(text: str) -> str:
    """``text`` without lone surrogates (JSON can hold them), which no file in UTF-8 could keep."""
    return _SURROGATE.sub("\ufffd", text)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        tables = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        near = difflib.get_close_matches(path.name, tables, n=1)
        where = f"{folder} holds {', '.join(sorted(tables)[:8]) or 'no table'}" if folder.is_dir() else ""
        fix = f"Did you mean {folder / near[0]}?" if near else where or f"There is no folder {folder} either"
        raise TableError(f"there is no table {path}", fix) from None
    except IsADirectoryError:
        raise TableError(f"{path} is a folder, not a table", "Name the .csv, .tsv, .json or .jsonl in it") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path} can't be read: {error}", "Check the path and its permissions") from None


def _utf16(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Without a mark: plain letters in UTF-16 have a zero in every second byte.
    head = data[:4096]
    half = len(head) // 2
    if half >= 4 and head[1::2].count(0) > 0.8 * half and head[::2].count(0) < 0.1 * half:
        return "utf-16-le"
    if half >= 4 and head[::2].count(0) > 0.8 * half and head[1::2].count(0) < 0.1 * half:
        return "utf-16-be"
    return None


def _mostly_utf8(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    head = data[:65536]
    if b"\x00" in head or len(_CONTROL.findall(head)) > 0.02 * len(head):
        raise TableError(f"{path} is not text", _FIX)
    text = data.decode("utf-8-sig", "surrogateescape")
    lines: list[int] = []
    line, place = 1, 0
    for match in _ESCAPED.finditer(text):
        line += text.count("\n", place, match.start())
        place = match.start()
        if not lines or lines[-1] != line:
            lines.append(line)
    decoded = _ESCAPED.sub(lambda match: _as_cp1252(match[0].encode("utf-8", "surrogateescape")), text)
    return decoded, (f"bytes that are not UTF-8 read as Windows-1252 on {name_lines(lines)}",)


def _as_cp1252(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:  # five bytes mean nothing in Windows-1252
        return data.decode("latin-1")


def name_lines(lines: list[int]) -> str:
    """ "line 3", "lines 3, 4, 9" or "lines 3, 4, 9, … (40 in all)"."""
    if len(lines) == 1:
        return f"line {lines[0]}"
    shown = ", ".join(map(str, lines[:30]))
    return f"lines {shown}" if len(lines) <= 30 else f"lines {shown}, … ({len(lines)} in all)"
