"""Which rows train, tune and test: named sets of ids, kept as an artefact beside the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from clipfuse.data.grouping import Grouping
from clipfuse.errors import CacheCorrupt

SplitMethod = Literal["stratified", "column", "position", "test-table", "cross-validation"]
Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
VERSION = 1
GROUPED_VERSION = 2
"""Of files that tell which rows were kept together; the others stay as they always were."""


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint, non-empty sets of ids, each in the dataset's order.

    ``fractions`` are the shares that were asked for (empty for a column); ``seed`` is None where chance had no part.
    ``grouping`` tells which rows were kept on one side where that was asked for.
    Raises ValueError where the parts don't fit together.
    """

    name: str
    method: SplitMethod
    seed: int | None
    fractions: Mapping[str, float]
    roles: Mapping[str, tuple[str, ...]]
    grouping: Grouping | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fractions", dict(self.fractions))
        object.__setattr__(self, "roles", {role: tuple(ids) for role, ids in self.roles.items()})
        problem = _problem(self)
        if problem:
            raise ValueError(f"split {self.name!r}: {problem}")

    @property
    def digest(self) -> str:
        """SHA-256 over which id has which role, as hex: the same for the same sets, however they came about."""
        members = {role: sorted(self.roles[role]) for role in ROLES}
        return hashlib.sha256(_json(members)).hexdigest()

    def to_json(self) -> bytes:
        """The split as a file's content: the same split gives the same bytes."""
        content: dict[str, Any] = {
            "version": VERSION if self.grouping is None else GROUPED_VERSION,
            "name": self.name,
            "method": self.method,
            "seed": self.seed,
            "fractions": self.fractions,
            "roles": self.roles,
            "digest": self.digest,
        }
        if self.grouping is not None:
            content["grouping"] = self.grouping.to_dict()
        return _json(content) + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Split:
        """The opposite of :meth:`to_json`.

        Raises:
            CacheCorrupt: not such a file, another version, an id twice or in two roles, a digest that doesn't fit.
        """
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise CacheCorrupt(f"the split is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise CacheCorrupt("the split should be a JSON object")
        version = values.get("version")
        if version not in (VERSION, GROUPED_VERSION) or isinstance(version, bool):
            raise CacheCorrupt(
                f"the split has version {version!r}; this clipfuse reads {VERSION} and {GROUPED_VERSION}"
            )
        expected = {"version", "name", "method", "seed", "fractions", "roles", "digest"}
        expected |= {"grouping"} if version == GROUPED_VERSION else set()
        if set(values) != expected:
            raise CacheCorrupt(f"the split should have the keys {sorted(expected)}, not {sorted(values)}")
        roles, fractions = values["roles"], values["fractions"]
        if not isinstance(roles, dict) or not all(isinstance(ids, list) for ids in roles.values()):
            raise CacheCorrupt("the split's roles should each be a list of ids")
        if not isinstance(fractions, dict):
            raise CacheCorrupt("the split's fractions should be an object")
        try:
            grouping = Grouping.from_dict(values["grouping"]) if version == GROUPED_VERSION else None
            split = cls(values["name"], values["method"], values["seed"], fractions, roles, grouping)
        except ValueError as error:
            raise CacheCorrupt(str(error)) from None
        if split.digest != values["digest"]:
            raise CacheCorrupt(f"split {split.name!r}: its ids don't fit its digest; it was changed by hand")
        return split


def _problem(split: Split) -> str | None:
    """What is wrong with a split, or None."""
    if not isinstance(split.name, str) or not split.name:
        return "it needs a name"
    if split.method not in get_args(SplitMethod):
        return f"unknown method {split.method!r}"
    if split.seed is not None and (not isinstance(split.seed, int) or isinstance(split.seed, bool)):
        return f"its seed should be a whole number, not {split.seed!r}"
    for role, share in split.fractions.items():
        if role not in ROLES or isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            return f"its fractions can't have {role!r}: {share!r}"
    if set(split.roles) != set(ROLES):
        return f"its roles should be {', '.join(ROLES)}; found {', '.join(split.roles) or 'none'}"
    seen: dict[str, str] = {}
    for role in ROLES:
        if not split.roles[role]:
            return f"no {role} rows"
        for row in split.roles[role]:
            if not isinstance(row, str):
                return f"the id {row!r} in {role} is not a string"
            if row in seen:
                return f"the id {row!r} is " + (
                    f"twice in {role}" if seen[row] == role else f"in {seen[row]} and {role}"
                )
            seen[row] = role
    return None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
