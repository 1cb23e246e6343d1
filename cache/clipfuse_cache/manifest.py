"""The JSON beside the shards: what a table is, what is planned for it, what is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from clipfuse_cache.atomic import write_json
from clipfuse_cache.errors import CacheCorrupt, CacheError
from clipfuse_cache.fingerprint import fingerprint

VERSION = 1
IDENTITY = "identity"
"""The view that is the input as it is."""
IMPORTED = "imported"
"""Backend and output of tables whose features were made elsewhere."""
T = TypeVar("T")


@dataclass(frozen=True)
class TableDescription:
    """What a feature table holds.

    Attributes:
        name: "encoder/modality/output", with "@view" after it for other views than the input as it is; for people, not
            part of the fingerprint.
        fingerprint: SHA-256 (hex) over ``encoder``.
        encoder: everything that changes a number.
        tokens, dim, dtype: each row is (tokens, dim) of dtype "float16" or "float32".
        provenance: what made it (library versions, device, size of the weights); not part of the fingerprint.
    """

    name: str
    fingerprint: str
    encoder: Mapping[str, Any]
    tokens: int
    dim: int
    dtype: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The table's folder name: its name in plain characters and the fingerprint's first 12 digits."""
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in self.name)
        return f"{plain[:80]}-{self.fingerprint[:12]}"

    @property
    def modality(self) -> str:
        """ "image" or "text"."""
        return str(self.encoder["modality"])

    @property
    def output(self) -> str:
        """Which of the encoder's outputs this is."""
        return str(self.encoder["output"])

    @property
    def view(self) -> str:
        """Which variant of the inputs it was made from; "identity" is the inputs as they are."""
        return self.name.rpartition("/")[2].partition("@")[2] or IDENTITY

    @property
    def encoder_name(self) -> str:
        """The name under which the encoder was asked for."""
        name = self.name.removesuffix(f"@{self.view}")
        return name.removesuffix(f"/{self.modality}/{self.output}")

    @property
    def is_imported(self) -> bool:
        """Whether its features were made elsewhere."""
        return self.encoder.get("backend") == IMPORTED

    @property
    def command(self) -> str:
        """What to run for rows that the table lacks, in words: "clipfuse extract with its view, flip"."""
        if self.is_imported:
            return "clipfuse cache import again"
        kind, _, number = self.output.partition("-")
        words = [f"its view, {self.view}"] if self.view != IDENTITY else []
        words += [f"--tokens {number}"] if kind == "tokens" else []
        return f"clipfuse extract{' with ' if words else ''}{', and '.join(words)}"


@dataclass(frozen=True)
class ShardEntry:
    """A complete shard: its index, size, SHA-256 (hex), rows, how many of them are valid or failed, and by note how
    many have it."""

    index: int
    bytes: int
    sha256: str
    rows: int
    valid: int
    failed: int
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Rows to encode, decided before the first of them is: a resume that finds it gives the same bytes.

    ``rows_digest`` (over ids and input digests, in order) says which rows; shards ``first_shard``,
    ``first_shard + 1``, … hold ``shard_rows`` of them each, the last one the rest. ``batch_size`` and ``compiled``
    say how the forward pass runs, which moves the last bits of the numbers. ``kept`` are shards of earlier plans that
    never became complete, because the data set or the batch size changed under them: the manifest does not know them
    yet.
    """

    table: TableDescription
    rows: int
    rows_digest: str
    first_shard: int
    shard_rows: int
    batch_size: int
    compiled: bool = False
    kept: tuple[ShardEntry, ...] = ()

    @property
    def shards(self) -> range:
        """The indices of the planned shards."""
        return range(self.first_shard, self.first_shard + -(-self.rows // self.shard_rows))

    def rows_of(self, index: int) -> slice:
        """Which of the planned rows shard ``index`` holds."""
        start = (index - self.first_shard) * self.shard_rows
        return slice(start, min(start + self.shard_rows, self.rows))


@dataclass(frozen=True)
class Manifest:
    """A complete table. ``inputs`` is the rows digest of the data set that it was last made complete for;
    ``rows`` counts that data set's rows. Where an id stands in several shards the last one counts."""

    table: TableDescription
    inputs: str
    rows: int
    shards: tuple[ShardEntry, ...]


def is_done(plan: Plan, manifest: Manifest | None) -> bool:
    """Whether the manifest has every shard of the plan: a kill right after it was written leaves such a plan."""
    complete = {entry.index for entry in manifest.shards} if manifest is not None else set()
    return complete.issuperset(plan.shards)


def shard_file(index: int) -> str:
    """The file name of shard ``index``."""
    return f"shard-{index:06d}.h5"


def write_plan(folder: Path, plan: Plan, *, replace: bool = True) -> bool:
    """Write ``plan.json`` atomically; without ``replace`` only where there is none. Returns whether it was written."""
    return _write(folder / "plan.json", "clipfuse-plan", asdict(plan), replace=replace)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace ``manifest.json`` atomically."""
    _write(folder / "manifest.json", "clipfuse-table", asdict(manifest))


def read_plan(folder: Path) -> Plan | None:
    """The plan in ``folder``, or None. Raises CacheCorrupt where it can't be read."""
    path = folder / "plan.json"
    value = _read(path, "clipfuse-plan")
    if value is None:
        return None
    value["table"] = _table(value.get("table"), path)
    value["kept"] = _entries(value.get("kept"), path)
    return _build(Plan, value, path)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in ``folder``, or None. Raises CacheCorrupt where it can't be read."""
    path = folder / "manifest.json"
    value = _read(path, "clipfuse-table")
    if value is None:
        return None
    value["table"] = _table(value.get("table"), path)
    value["shards"] = _entries(value.get("shards"), path)
    return _build(Manifest, value, path)


def read_json(path: Path) -> Any:
    """A JSON file's value, or None where there is no such file.

    Raises:
        CacheCorrupt: it is not JSON, or null.
        CacheError: it can't be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise CacheCorrupt(f"{path}: not JSON", _FIX) from error
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error
    if value is None:  # not to be taken for a file that is not there: another process may write it at any moment
        raise CacheCorrupt(f"{path}: holds null", _FIX)
    return value


_TYPES = {"int": int, "str": str, "bool": bool, "Mapping[str, Any]": dict, "Mapping[str, int]": dict}
_AT_LEAST_ONE = {"tokens", "dim", "shard_rows", "batch_size"}
_FIX = "Delete it and run clipfuse extract again; finished shards are kept"


def _write(path: Path, kind: str, value: dict[str, Any], *, replace: bool = True) -> bool:
    value = {"format": kind, "version": VERSION, **value}
    return write_json(path, {**value, "sha256": fingerprint(value)}, replace=replace)


def _read(path: Path, expected: str) -> dict[str, Any] | None:
    value = read_json(path)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise CacheCorrupt(f"{path}: expected a JSON object", _FIX)
    found = (value.get("format"), value.get("version"))
    if found != (expected, VERSION):
        raise CacheCorrupt(f"{path}: format and version are {found}, expected {(expected, VERSION)}", _FIX)
    digest = value.pop("sha256", None)
    try:
        intact = digest == fingerprint(value)
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise CacheCorrupt(f"{path}: not what was written (its SHA-256 differs)", _FIX)
    del value["format"], value["version"]
    return value


def _table(value: Any, path: Path) -> TableDescription:
    table = _build(TableDescription, value, path)
    if table.dtype not in ("float16", "float32"):
        raise CacheCorrupt(f"{path}: dtype is {table.dtype!r}, expected float16 or float32", _FIX)
    return table


def _entries(value: Any, path: Path) -> tuple[ShardEntry, ...]:
    return tuple(_build(ShardEntry, entry, path) for entry in (value if isinstance(value, list) else [None]))


def _build(kind: type[T], value: Any, path: Path) -> T:
    """A record from a JSON object with exactly its fields, each of the declared type."""
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    if not isinstance(value, dict) or set(value) != set(fields):
        raise CacheCorrupt(f"{path}: expected an object with {', '.join(fields)}", _FIX)
    for name, declared in fields.items():
        wanted = _TYPES.get(declared.type)
        # type() and not isinstance(): True is an int, too
        if wanted is not None and type(value[name]) is not wanted:
            raise CacheCorrupt(f"{path}: {name} must be {declared.type}", _FIX)
        least = 1 if name in _AT_LEAST_ONE else 0
        if wanted is int and value[name] < least:
            raise CacheCorrupt(f"{path}: {name} must be at least {least}", _FIX)
        counts = value[name].values() if declared.type == "Mapping[str, int]" else ()
        if any(type(count) is not int or count < 1 for count in counts):
            raise CacheCorrupt(f"{path}: {name} must be counts of at least 1", _FIX)
    return kind(**value)
