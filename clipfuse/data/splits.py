"""Which rows train, tune and test: named sets of ids, kept as an artefact beside the cache."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.errors import CacheCorrupt, ConfigError, DuplicateId

SplitMethod = Literal["stratified", "column", "position", "test-table"]
Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
VERSION = 1
_COLUMN_VALUES: dict[str, Role] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
_REPAIR_CANDIDATES = 4096  # rows looked at for one exchange, a random part of a role


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint, non-empty sets of ids, each in the dataset's order.

    ``fractions`` are the shares that were asked for (empty for a column); ``seed`` is None where chance had no part.
    Raises ValueError where the parts don't fit together.
    """

    name: str
    method: SplitMethod
    seed: int | None
    fractions: Mapping[str, float]
    roles: Mapping[str, tuple[str, ...]]

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
            "version": VERSION,
            "name": self.name,
            "method": self.method,
            "seed": self.seed,
            "fractions": self.fractions,
            "roles": self.roles,
            "digest": self.digest,
        }
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
        if values.get("version") != VERSION or isinstance(values.get("version"), bool):
            raise CacheCorrupt(f"the split has version {values.get('version')!r}; this clipfuse reads {VERSION}")
        expected = {"version", "name", "method", "seed", "fractions", "roles", "digest"}
        if set(values) != expected:
            raise CacheCorrupt(f"the split should have the keys {sorted(expected)}, not {sorted(values)}")
        roles, fractions = values["roles"], values["fractions"]
        if not isinstance(roles, dict) or not all(isinstance(ids, list) for ids in roles.values()):
            raise CacheCorrupt("the split's roles should each be a list of ids")
        if not isinstance(fractions, dict):
            raise CacheCorrupt("the split's fractions should be an object")
        try:
            split = cls(values["name"], values["method"], values["seed"], fractions, roles)
        except ValueError as error:
            raise CacheCorrupt(str(error)) from None
        if split.digest != values["digest"]:
            raise CacheCorrupt(f"split {split.name!r}: its ids don't fit its digest; it was changed by hand")
        return split


def make_split(
    ids: Sequence[str],
    targets: ArrayLike,
    *,
    name: str,
    validation: float,
    test: float,
    seed: int,
    fixed_test: Sequence[str] | None = None,
) -> Split:
    """Deal rows into train, validation and test so that each label keeps its share in each.

    Iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the Stratification of Multi-Label Data"), all
    three roles at once, then moves of single rows until the sizes are exact: ``round(fraction * rows)``, at least 1.
    A label with few positive rows keeps at least one of them in train, as long as train has room.

    Args:
        ids: one a row, distinct.
        targets: (rows, labels) bool; any number of labels, none included.
        name: what the split is called.
        validation: share of validation rows, within (0, 1); of the remaining rows where ``fixed_test`` is given.
        test: share of test rows; not looked at where ``fixed_test`` is given.
        seed: 0 or above; the same seed gives the same split.
        fixed_test: the ids of the test rows, exactly; only the other rows are dealt.

    Raises:
        ConfigError: shares that leave a role empty, ids in ``fixed_test`` that no row has, a negative seed.
        DuplicateId: an id on two rows.
        ValueError: targets that don't fit the ids.
    """
    _distinct(ids)
    truth = np.asarray(targets).astype(bool, copy=False)
    if truth.ndim != 2 or len(truth) != len(ids):
        raise ValueError(f"targets should be ({len(ids)}, labels) for {len(ids)} ids, not {truth.shape}")
    if fixed_test is None:
        sizes = _sizes(len(ids), {"validation": validation, "test": test})
        role_of = _deal(truth, sizes, seed, keep=0)
        roles = {str(role): [ids[i] for i in np.flatnonzero(role_of == k).tolist()] for k, role in enumerate(ROLES)}
        return _split(name, "stratified", seed, {"validation": validation, "test": test}, roles)

    _distinct(fixed_test)
    wanted = set(fixed_test)
    strange = sorted(wanted.difference(ids))
    if strange:
        raise ConfigError(f"{len(strange)} test ids are not in the data: {_some(strange)}")
    if not wanted:
        raise ConfigError("the list of test ids is empty")
    rest = np.array([i for i, row in enumerate(ids) if row not in wanted], dtype=np.intp)
    role_of = _deal(truth[rest], _sizes(len(rest), {"validation": validation}), seed, keep=0)
    roles = {
        "train": [ids[i] for i in rest[role_of == 0].tolist()],
        "validation": [ids[i] for i in rest[role_of == 1].tolist()],
        "test": [row for row in ids if row in wanted],
    }
    return _split(name, "test-table", seed, {"validation": validation}, roles)


def split_by_column(ids: Sequence[str], values: Sequence[str], *, name: str = "column") -> Split:
    """The split that a column of the table names: train; val, valid, validation, dev; test; in any case.

    Raises:
        ConfigError: another value, or a role that no row has.
        DuplicateId: an id on two rows.
        ValueError: another number of values than of ids.
    """
    _distinct(ids)
    if len(values) != len(ids):
        raise ValueError(f"{len(values)} values for {len(ids)} ids")
    roles: dict[str, list[str]] = {role: [] for role in ROLES}
    unknown: Counter[str] = Counter()
    for row, value in zip(ids, values, strict=True):
        role = _COLUMN_VALUES.get(value.strip().lower())
        if role is None:
            unknown[value] += 1
        else:
            roles[role].append(row)
    if unknown:
        found = _some([f"{value!r} ({count} rows)" for value, count in unknown.most_common()])
        raise ConfigError(f"the split column has {found}; expected one of {', '.join(_COLUMN_VALUES)} in every row")
    return _split(name, "column", None, {}, roles)


def split_by_position(ids: Sequence[str], validation: float, test: float, *, name: str = "position") -> Split:
    """The last rows test, those before them validate, the first train: unshuffled. Sizes as in :func:`make_split`.

    Raises:
        ConfigError: shares that leave a role empty.
        DuplicateId: an id on two rows.
    """
    _distinct(ids)
    fractions = {"validation": validation, "test": test}
    train, tune, _ = _sizes(len(ids), fractions)
    roles = {"train": ids[:train], "validation": ids[train : train + tune], "test": ids[train + tune :]}
    return _split(name, "position", None, fractions, roles)


def folds(targets: ArrayLike, k: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of row numbers (train, held out), each sorted; every row is held out exactly once.

    Iterative stratification as in :func:`make_split`; the folds' sizes differ by at most one. With fewer rows than
    ``k`` there is one fold a row. A label whose positive rows all lie in one fold is absent from its training rows.

    Args:
        targets: (rows, labels) bool; any number of labels, none included.
        k: number of folds, at least 2.
        seed: 0 or above.

    Raises:
        ConfigError: fewer than 2 folds or rows, a negative seed.
        ValueError: targets that are not two-dimensional.
    """
    truth = np.asarray(targets).astype(bool, copy=False)
    if truth.ndim != 2:
        raise ValueError(f"targets should be (rows, labels), not {truth.ndim}-dimensional")
    rows = len(truth)
    if k < 2 or rows < 2:
        raise ConfigError(f"folds need at least 2 folds and 2 rows; there are {k} and {rows}")
    k = min(k, rows)
    sizes = [rows // k + (i < rows % k) for i in range(k)]
    fold_of = _deal(truth, sizes, seed)
    return [(np.flatnonzero(fold_of != i), np.flatnonzero(fold_of == i)) for i in range(k)]


def _deal(targets: NDArray[np.bool_], sizes: Sequence[int], seed: int, *, keep: int | None = None) -> NDArray[np.intp]:
    """Each row's part, (rows,), parts of exactly these sizes. Part ``keep`` gets every label, if it has room."""
    from iterstrat.ml_stratifiers import IterativeStratification

    if seed < 0:
        raise ConfigError(f"a seed should be 0 or above, not {seed}")
    rows = len(targets)
    # The library's splitter classes refuse a single label and can't deal three parts; its algorithm can.
    rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    shuffled = rng.permutation(rows)
    truth = targets[shuffled]
    part = IterativeStratification(truth, np.array(sizes) / rows, rng).astype(np.intp)
    _repair(truth, part, np.array(sizes), keep)
    dealt = np.empty(rows, dtype=np.intp)
    dealt[shuffled] = part
    return dealt


def _repair(truth: NDArray[np.bool_], part: NDArray[np.intp], sizes: NDArray[np.intp], keep: int | None) -> None:
    """Move rows, in place, until the parts have these sizes; each time one that costs least.

    The cost is the growth of ``sum over parts and labels of (positives - wanted)**2 / positives of the label``.
    """
    total = truth.sum(axis=0).astype(np.float64)
    scale = 2 / np.maximum(total, 1)
    excess = np.stack([truth[part == p].sum(axis=0) for p in range(len(sizes))]) - np.outer(sizes / len(part), total)
    kept = truth[part == keep].sum(axis=0) if keep is not None else None

    def move(row: int, to: int) -> None:
        excess[part[row]] -= truth[row]
        excess[to] += truth[row]
        if kept is not None:
            kept[:] += truth[row] * (int(to == keep) - int(part[row] == keep))
        part[row] = to

    def cheapest(rows: NDArray[np.intp], source: int, to: int) -> int:
        return int(rows[np.argmin(truth[rows] @ (scale * (1 - excess[source] + excess[to])))])

    if keep is not None and kept is not None:
        for label in np.argsort(total, kind="stable"):
            if kept[label] == 0 and total[label] > 0:
                source = int(np.argmax(excess[:, label]))
                rows = np.flatnonzero(truth[:, label] & (part == source))
                if not len(rows):
                    rows = np.flatnonzero(truth[:, label])
                move(cheapest(rows, source, keep), keep)
    while True:
        surplus = np.bincount(part, minlength=len(sizes)) - sizes
        source, to = int(np.argmax(surplus)), int(np.argmin(surplus))
        if surplus[source] == 0:
            return
        rows = np.flatnonzero(part == source)
        if source == keep and kept is not None:
            free = rows[~truth[rows][:, kept == 1].any(axis=1)]
            rows = free if len(free) else rows
        move(cheapest(rows[:_REPAIR_CANDIDATES], source, to), to)


def _sizes(rows: int, fractions: Mapping[str, float]) -> list[int]:
    """Rows of train and of each named part. ConfigError where one would be empty."""
    for role, share in fractions.items():
        if not 0 < share < 1:
            raise ConfigError(f"the share of {role} rows should be above 0 and below 1, not {share}")
    if sum(fractions.values()) >= 1:
        shares = " and ".join(f"{role} {share}" for role, share in fractions.items())
        raise ConfigError(f"{shares} leave no row to train on: together they should be below 1")
    parts = [max(1, round(share * rows)) for share in fractions.values()]
    train = rows - sum(parts)
    if train < 1:
        roles = ", ".join(["train", *fractions])
        raise ConfigError(f"{rows} rows are too few for {roles} with these shares: each needs at least one row")
    return [train, *parts]


def _split(
    name: str,
    method: SplitMethod,
    seed: int | None,
    fractions: Mapping[str, float],
    roles: Mapping[str, Sequence[str]],
) -> Split:
    """A split of roles that have rows; ConfigError where one has none, or the name is empty."""
    empty = [role for role in ROLES if not roles[role]]
    if empty:
        raise ConfigError(f"the split {name!r} has no {' and no '.join(empty)} rows; each role needs at least one")
    if not name:
        raise ConfigError("a split needs a name")
    return Split(name, method, seed, fractions, {role: tuple(ids) for role, ids in roles.items()})


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


def _distinct(ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids):
        twice = [row for row, count in Counter(ids).items() if count > 1]
        raise DuplicateId(f"{len(twice)} ids are on more than one row: {_some([repr(row) for row in twice])}")


def _some(items: Sequence[str], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
