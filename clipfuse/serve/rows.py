"""From a request's body to rows: a form with one, or a JSON list of several."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.requests import ClientDisconnect

from clipfuse.serve.limits import Limits
from clipfuse.serve.refusal import Refusal

_NAMES = ("image", "caption", "numbers")
_SHAPE = 'Send [{"image": BASE64, "caption": TEXT, "numbers": {COLUMN: NUMBER}}], each of them optional'


@dataclass(frozen=True)
class ServedRow:
    """One row of a request: a picture's file, a caption that is not blank, numbers by column."""

    image: bytes | None
    caption: str | None
    numbers: Mapping[str, float | None]

    @property
    def given(self) -> tuple[str, ...]:
        """What it has, of "image", "text" and "numbers"."""
        parts = {"image": self.image is not None, "text": self.caption is not None, "numbers": bool(self.numbers)}
        return tuple(name for name, there in parts.items() if there)


async def read_body(request: Request, limits: Limits) -> bytes:
    """All of the body, which is counted while it comes. Raises Refusal."""
    too_large = Refusal(
        413, "body_too_large", f"a request may have {limits.body_bytes:,} bytes", "Send smaller pictures, or fewer"
    )
    if int(request.headers.get("content-length") or 0) > limits.body_bytes:
        raise too_large
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "compressed_body", "a compressed body is not read", "Send it as it is")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, "body_too_slow", f"the body did not arrive in {limits.body_seconds:g} s") from None
    except ClientDisconnect:
        raise Refusal(400, "disconnected", "the client went away") from None
    return bytes(body)


def read_rows(content_type: str, body: bytes, columns: Sequence[str], limits: Limits) -> list[ServedRow]:
    """The rows of a body, at least one. ``columns``: of the numbers that may be given. Raises Refusal."""
    kind, parameters = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        given = [_read_form(parameters.get(b"boundary", b""), body)]
    elif kind == b"application/json":
        given = _read_list(body, limits)
    else:
        raise Refusal(415, "unknown_body", "the body should be multipart/form-data or application/json", _SHAPE)
    rows = []
    for number, row in enumerate(given):
        found = ServedRow(row.get("image"), _caption(row, number, limits), _numbers(row, number, columns))
        if not found.given:
            _wrong(f"row {number} has neither a picture nor a caption nor a number")
        rows.append(found)
    return rows


def _read_form(boundary: bytes, body: bytes) -> dict[str, Any]:
    """One row, its picture as bytes and its numbers as they were parsed."""
    found: dict[str, Any] = {}

    def add(name: bytes | None, value: Any) -> None:
        text = (name or b"").decode(errors="replace")
        if text not in _NAMES:
            _wrong(f"the form has no field {text!r:.60}", f"Its fields are {', '.join(_NAMES)}")
        if text in found:
            _wrong(f"the field {text!r} is there twice", "Send several rows as a JSON list")
        found[text] = value

    def on_field(field: Field) -> None:
        if field.field_name == b"image":
            _wrong("the field 'image' should be a file")
        try:
            text = (field.value or b"").decode()
        except UnicodeDecodeError:
            raise Refusal(400, "not_utf8", "the form is not UTF-8") from None
        add(field.field_name, _json(text) if field.field_name == b"numbers" and text.strip() else text)

    def on_file(file: File) -> None:
        if file.field_name != b"image":
            _wrong("only the field 'image' may be a file")
        file.file_object.seek(0)
        data = file.file_object.read()
        if file.file_name or data:  # a browser sends an empty file where none is chosen
            add(b"image", data)

    config = {"MAX_MEMORY_FILE_SIZE": float("inf")}  # never to disk: the body is in memory already
    try:
        parser = FormParser("multipart/form-data", on_field, on_file, boundary=boundary, config=config)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, AttributeError) as error:
        raise Refusal(400, "unreadable_form", "the body is not a whole multipart form") from error
    if found.get("numbers") == "":
        del found["numbers"]
    return found


def _read_list(body: bytes, limits: Limits) -> list[dict[str, Any]]:
    try:
        given = _json(body.decode())
    except UnicodeDecodeError:
        raise Refusal(400, "not_utf8", "the JSON is not UTF-8") from None
    if not isinstance(given, list):
        _wrong(f"the body should be a JSON list, not {_called(given)}", _SHAPE)
    if not given:
        _wrong("the list has no row", _SHAPE)
    if len(given) > limits.rows:
        words = f"a request may have {limits.rows} rows, not {len(given):,}"
        raise Refusal(413, "too_many_rows", words, "Send several")
    rows = []
    for number, row in enumerate(given):
        if not isinstance(row, dict):
            _wrong(f"row {number} should be an object, not {_called(row)}", _SHAPE)
        unknown = next((name for name in row if name not in _NAMES), None)
        if unknown is not None:
            _wrong(f"row {number} has {unknown!r:.60}, which means nothing here", _SHAPE)
        present = {name: value for name, value in row.items() if value is not None}
        if "image" in present:
            present["image"] = _from_base64(present["image"], number)
        rows.append(present)
    return rows


def _from_base64(value: Any, row: int) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else _wrong_base64(row), validate=True)
    except ValueError:  # not ASCII, or not base64
        _wrong_base64(row)


def _wrong_base64(row: int) -> NoReturn:
    _wrong(f"the image of row {row} should be a picture's file in base64")


def _caption(row: Mapping[str, Any], number: int, limits: Limits) -> str | None:
    caption = row.get("caption")
    if caption is None:
        return None
    if not isinstance(caption, str):
        _wrong(f"the caption of row {number} should be a string, not {_called(caption)}")
    if len(caption) > limits.caption_characters:
        most = f"{limits.caption_characters:,}"
        words = f"a caption may have {most} characters; that of row {number} has {len(caption):,}"
        raise Refusal(413, "caption_too_long", words, "Shorten it")
    return caption if caption.strip() else None


def _numbers(row: Mapping[str, Any], number: int, columns: Sequence[str]) -> dict[str, float | None]:
    numbers = row.get("numbers")
    if numbers is None:
        return {}
    if not isinstance(numbers, dict):
        _wrong(f"the numbers of row {number} should be an object, not {_called(numbers)}")
    for name, value in numbers.items():
        if name not in columns:
            known = f"It reads {', '.join(columns)}" if columns else "It reads no numbers"
            _wrong(f"the run has no column {name!r:.60}", known)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            _wrong(f"{name!r} of row {number} should be a number, not {_called(value)}")
    return numbers


def _json(text: str) -> Any:
    """Strict JSON: NaN is none of it."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "not_json", "this is not JSON", _SHAPE) from None


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


def _called(value: Any) -> str:
    """A JSON value's type, for people."""
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _wrong(message: str, fix: str = "") -> NoReturn:
    raise Refusal(422, "wrong_input", message, fix)
