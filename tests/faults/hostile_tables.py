"""Hostile tables: name -> (suffix, bytes, how many rows they hold), None where no table can be made of them."""

from __future__ import annotations

import json


def _lines(*lines, end="\n"):
    return end.join(("id,caption", *lines, "")).encode()


def _objects(*objects):
    return "\n".join(json.dumps(one) for one in objects).encode()


TABLES: dict[str, tuple[str, bytes, int | None]] = {
    "a byte order mark": (".csv", b"\xef\xbb\xbf" + _lines("1,a cat", "2,a dog"), 2),
    "two byte order marks": (".csv", b"\xef\xbb\xbf\xef\xbb\xbf" + _lines("1,a cat", "2,a dog"), 2),
    "UTF-16": (".csv", _lines("1,ä cat", "2,a dog").decode().encode("utf-16"), 2),
    "UTF-16 cut in the middle of a letter": (".csv", _lines("1,a cat").decode().encode("utf-16")[:-1], None),
    "UTF-32": (".csv", _lines("1,a cat").decode().encode("utf-32"), None),
    "Windows-1252 among UTF-8": (".csv", _lines("1,ä", "2,x") + b"3,\xe4\x93\n", 3),
    "bytes that are no letters": (".csv", _lines("1,a") + bytes(range(128, 256)) * 20, 2),
    "NULs in cells": (".csv", _lines("1,a\0cat", "2,\0"), 2),
    "nothing but NULs": (".csv", bytes(100_000), None),
    "nothing": (".csv", b"", None),
    "blank lines only": (".csv", b"\r\n \n\n\r", None),
    "only column names": (".csv", b"id,caption\n", None),
    "lone quotes": (".csv", _lines('1,"a cat', "2,a dog", '3,a "bird', '4,"', "5,the end"), 5),
    "a quote that is never closed, and a long way to go": (
        ".csv",
        _lines('1,"a', *(f"{n},b" for n in range(2, 20_000))),
        19_999,
    ),
    "quotes within quotes": (".csv", _lines('1,"he said ""no"" and "left""', '2,"a, b', '3,c"'), 2),
    "ragged rows": (".csv", _lines("1,a", "2", "3,a,b,c", ",,,,,,", "5,b"), 5),
    "empty lines between": (".csv", _lines("", "1,a", "", "", "2,b", ""), 2),
    "CR only": (".csv", _lines("1,a", "2,b", end="\r"), 2),
    "CRLF, CR and LF": (".csv", b"id,caption\r\n1,a\r2,b\n3,c\r\n", 3),
    "semicolons, commas within": (".csv", b"id;caption\n1;a, b\n2;c, d, e\n", 2),
    "tabs in a .csv, commas in a .tsv": (".tsv", b"id\tcaption\n1\ta, b\n2\tc\n", 2),
    "commas in a .tsv": (".tsv", b"id,caption\n1,a\n2,b\n", None),
    "a column twice": (".csv", b"id,caption,caption\n1,a,b\n", None),
    "an id twice": (".csv", _lines("1,a", "2,b", "1,c"), None),
    "no column names": (".csv", b"1,2\n3,4\n", None),
    "a million columns": (".csv", b"id,caption," + b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1,a\n", None),
    "a cell of ten megabytes": (".csv", _lines("1," + "x" * 10_000_000, "2,b"), 2),
    "a line of ten megabytes and nothing else": (".csv", b"x" * 10_000_000, None),
    "formulas": (".csv", _lines('1,"=HYPERLINK(""http://x"")"', "2,@SUM(A1)", "3,+1", "4,-1"), 4),
    "ids that are paths": (".csv", _lines("../../etc/passwd,a", "/dev/null,b", "C:\\x,c", "~,d"), 4),
    "ids with escapes and markup": (".csv", _lines("\x1b[31mred,a", "[bold]x[/bold],b", "\u202egnp,c"), 3),
    "ids of numbers that are none": (".csv", _lines("NaN,a", "inf,b", "1e400,c", "00,d", "0,e"), 5),
    "a picture": (".csv", b"\x89PNG\r\n\x1a\n" + bytes(500), None),
    "a spreadsheet": (".csv", b"PK\x03\x04" + bytes(500), None),
    "JSON that is nested deeply": (".json", b"[" * 200_000, None),
    "JSON objects that are nested deeply": (".json", b'{"a":' * 200_000, None),
    "JSON Lines, one nested deeply": (".jsonl", _objects({"id": 1, "caption": "a"}) + b"\n" + b"[" * 200_000, 2),
    "a number of a million digits": (".json", b'[{"id": ' + b"9" * 1_000_000 + b', "caption": "a"}]', None),
    "JSON of other types": (
        ".jsonl",
        _objects({"id": 1, "caption": ["a"]}, {"id": [2], "caption": 3}, {"id": {}, "caption": None}, 7, None, {}),
        6,
    ),
    "JSON keys twice": (".jsonl", b'{"id": 1, "caption": "a", "caption": "b"}\n{"id": 2, "caption": "c"}', 2),
    "half a surrogate": (".json", b'[{"id": "a\\ud800", "caption": "\\udc41b"}]', 1),
    "JSON cut short": (".json", b'[{"id": 1, "caption": "a"}, {"id"', None),
    "no object at all": (".json", b"3", None),
}
