"""Digests that decide whether features may be reused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

DIGEST_BYTES = 16
"""Length of a row's input digest: the first 16 bytes of SHA-256."""

NO_DIGEST = bytes(DIGEST_BYTES)
"""The digest of an input that is absent."""


def input_digest(data: bytes) -> bytes:
    """The digest of one row's input: the first 16 bytes of SHA-256 of a picture's file or a caption's UTF-8."""
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def fingerprint(fields: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of everything in ``fields``; every one of them changes the features' numbers."""
    return hashlib.sha256(canonical_json(dict(fields))).hexdigest()


def rows_digest(ids: Iterable[str], digests: Iterable[bytes]) -> str:
    """SHA-256 (hex) over rows in their order: each id's UTF-8, a zero byte, its input digest."""
    total = hashlib.sha256()
    for name, digest in zip(ids, digests, strict=True):
        total.update(name.encode() + b"\0" + digest)
    return total.hexdigest()


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The fields in which two encoder descriptions differ, as "field: ours, not theirs; ..."."""
    return "; ".join(
        f"{name}: {_short(ours, name)}, not {_short(theirs, name)}"
        for name in sorted({*ours, *theirs})
        if (name in ours) != (name in theirs) or canonical_json(ours.get(name)) != canonical_json(theirs.get(name))
    )


def _short(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return "absent"
    value = fields[name]
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return repr(text if len(text) <= 60 else text[:12] + "…")
