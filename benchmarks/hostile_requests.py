"""Requests that no kind person sends, for benchmarks/serve.py and for the tests."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

_BOUNDARY = "b0undary"
_JSON = ("Content-Type", "application/json")
_FORM = ("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
_CLAIM = 60_000  # pixels a side that headers claim


class Hostile(NamedTuple):
    """A request."""

    kind: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def hostile_requests(count: int, picture: bytes, *, body_bytes: int, seed: int = 0) -> Iterator[Hostile]:
    """``count`` of them, all kinds in turn. ``picture``: a whole one; ``body_bytes``: the server's limit."""
    chance = random.Random(seed)
    kinds: list[Callable[[], Hostile]] = [
        lambda: _form("broken picture", _file(_broken(picture, chance))),
        lambda: _form("mutated picture", _file(_mutated(picture, chance))),
        lambda: _list("picture in JSON", [{"image": base64.b64encode(_broken(picture, chance)).decode()}]),
        lambda: _raw_json("no JSON", _no_json(chance)),
        lambda: _list("wrong types", _wrong_types(chance)),
        lambda: _list("odd caption", [{"caption": _odd_text(chance)}]),
        lambda: _form("odd caption", _field("caption", _odd_text(chance).encode(errors="replace"))),
        lambda: _form("bytes as caption", _field("caption", chance.randbytes(40))),
        lambda: _form("odd field", _odd_field(chance)),
        lambda: _broken_form(picture, chance),
        lambda: _large(chance, body_bytes),
        lambda: _odd_head(chance),
        lambda: _odd_path(chance),
    ]
    for number in range(count):
        yield kinds[number % len(kinds)]()


def _request(kind: str, body: bytes, *headers: tuple[str, str]) -> Hostile:
    return Hostile(kind, "POST", "/predict", headers, body)


def _list(kind: str, value: object) -> Hostile:
    return _raw_json(kind, json.dumps(value).encode())


def _raw_json(kind: str, body: bytes) -> Hostile:
    return _request(kind, body, _JSON)


def _form(kind: str, *parts: bytes) -> Hostile:
    body = b"".join(f"--{_BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts)
    return _request(kind, body + f"--{_BOUNDARY}--\r\n".encode(), _FORM)


def _field(name: str, value: bytes) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value


def _file(data: bytes, name: str = "image", filename: str = "../../../etc/passwd") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + data


def _broken(picture: bytes, chance: random.Random) -> bytes:
    side = chance.randint(10_000, _CLAIM)
    return chance.choice(
        [
            lambda: b"",
            lambda: picture[: chance.randrange(len(picture))],
            lambda: chance.randbytes(chance.randrange(1, 3000)),
            lambda: _png(side, side),
            lambda: _png(side * 100, 1),
            lambda: _png(0, side),
            lambda: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + struct.pack("<I", side)[:3] * 2 + bytes(9),
            lambda: b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, side, -side, 1, 24, 0, 0, 0, 0, 0, 0),
            lambda: b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(30),
            lambda: b"P6 65000 65000 255\n" + bytes(99),
            lambda: b"II*\0\x08\0\0\0" + chance.randbytes(200),
            lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            lambda: b"%PDF-1.4\n" + chance.randbytes(100),
            lambda: b"PK\3\4" + bytes(100),
            lambda: picture[:3] + chance.randbytes(200),
        ]
    )()


def _mutated(picture: bytes, chance: random.Random) -> bytes:
    found = bytearray(picture)
    for _ in range(chance.randint(1, 40)):
        found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _no_json(chance: random.Random) -> bytes:
    return chance.choice(
        [
            b"",
            b"[",
            b"[NaN]",
            b'[{"caption": NaN}]',
            b'[{"numbers": {"price": -Infinity}}]',
            b"[" * 100_000,
            b'[{"caption": ' * 20_000,
            b"9" * 10_000,
            b'[{"caption": "\xff\xfe"}]',
            '[{"caption": "a"}]'.encode("utf-16"),
            b'\xef\xbb\xbf[{"caption": "a"}]',
            b"[{'caption': 'a'}]",
            b'[{"caption": "a"}] trailing',
            b"\0" * 50,
            chance.randbytes(200),
            b'{"__class__": "os.system"}',
            b"null",
            b"[]",
            b"[[]]",
            b'"a"',
            b"1e999",
        ]
    )


def _odd_value(chance: random.Random) -> object:
    odd: list[object] = [None, True, 0, -1, 1.5, 10**300, 1e308, "", "AAAA", "é", "=", "a" * 300, [], [[]], {}]
    return chance.choice(odd)


def _wrong_types(chance: random.Random) -> object:
    names = ["image", "caption", "numbers", "price", "__proto__", "", "../x", "\ud800"]
    row = {chance.choice(names): _odd_value(chance) for _ in range(chance.randint(1, 3))}
    return chance.choice([row, [row], [row, row], [_odd_value(chance)], _odd_value(chance), [row] * 500])


def _odd_text(chance: random.Random) -> str:
    return chance.choice(
        [
            "",
            "   \n",
            "\0",
            "a\0b",
            "\ud800",
            "\udfff tail",
            "\u202egnp.exe",
            "e" + "\u0301" * 3000,
            "𝕏" * 2000,
            "{{7*7}} ${jndi:ldap://x} %s%n",
            "<script>alert(1)</script>",
            "../../../etc/passwd",
            "/etc/passwd",
            "'; DROP TABLE runs; --",
            "<|endoftext|>" * 50,
            "a" * 1_000_000,
            "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(200)),
        ]
    )


def _odd_field(chance: random.Random) -> bytes:
    return chance.choice(
        [
            _field("image", b"/etc/passwd"),
            _file(b"a", name="caption"),
            _file(b"a", name="numbers"),
            _field("numbers", b'{"price": NaN}'),
            _field("numbers", b'{"price": 3}'),
            _field("numbers", b"[" * 50_000),
            _field("numbers", b'"'),
            _field("", b"a"),
            _field("path", b"/etc/passwd"),
            _field("caption" * 500, b"a"),
            _file(b"a", filename="x" * 3000),
            _file(b"a", filename="..\\..\\\x01"),
            b"Content-Disposition: form-data\r\n\r\na",
            b"X: y\r\n" * 50 + b"\r\na",
            b"\r\na",
        ]
    )


def _broken_form(picture: bytes, chance: random.Random) -> Hostile:
    whole = _form("", _file(picture), _field("caption", b"a dog"))
    many = b"".join(f"--{_BOUNDARY}\r\n".encode() + _field("caption", b"a") + b"\r\n" for _ in range(3000))
    body, kind = chance.choice(
        [
            (whole.body[: chance.randrange(len(whole.body))], _FORM[1]),
            (whole.body, "multipart/form-data"),
            (whole.body, "multipart/form-data; boundary="),
            (whole.body, "multipart/form-data; boundary=other"),
            (whole.body, f"multipart/form-data; boundary={'x' * 2000}"),
            (whole.body[:400], f"{_FORM[1]}; charset=hex"),
            (whole.body, "application/x-www-form-urlencoded"),
            (whole.body, "text/plain"),
            (whole.body, ""),
            (b"caption=a", "application/x-www-form-urlencoded"),
            (many, _FORM[1]),
            (b"", _FORM[1]),
            (f"--{_BOUNDARY}--\r\n".encode(), _FORM[1]),
            (chance.randbytes(500), _FORM[1]),
        ]
    )
    return _request("broken form", body, ("Content-Type", kind))


def _large(chance: random.Random, body_bytes: int) -> Hostile:
    size = body_bytes + chance.randrange(1, 1000)
    return chance.choice(
        [
            lambda: _form("large picture", _file(bytes(size))),
            lambda: _raw_json("large JSON", b'[{"caption": "' + b"a" * size + b'"}]'),
            lambda: _raw_json("many rows", b"[" + b'{"caption":"a"},' * 5000 + b'{"caption":"a"}]'),
            lambda: _request("zip bomb", zlib.compress(bytes(1_000_000)), _JSON, ("Content-Encoding", "deflate")),
        ]
    )()


def _odd_head(chance: random.Random) -> Hostile:
    name, value = chance.choice(
        [
            ("Host", "evil.example"),
            ("Host", "["),
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Authorization", "Bearer \xe9"),
            ("Authorization", "Basic " + "A" * 4000),
            ("Cookie", "a=" + "b" * 7000),
            ("X-Forwarded-For", "127.0.0.1, " * 200),
            ("Accept", "\xff\xfe"),
            ("Range", "bytes=0-99999999999"),
        ]
    )
    return Hostile("odd header", "POST", "/predict", (_JSON, (name, value)), b"[{}]")


def _odd_path(chance: random.Random) -> Hostile:
    method = chance.choice(["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "BREW"])
    paths = ["/predict", "/labels", "/metrics", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]
    paths += ["/page/index.html", "/docs", "/" + "a" * 5000, "/%00", "/%ff%fe", "/labels/", "/labels?x=" + "%27" * 900]
    return Hostile("odd path", method, chance.choice(paths), (), b"")
