"""Ways to divide rows into train, validation and test, and into folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.data.dealing import deal
from clipfuse.data.split import ROLES, Role, Split, SplitMethod
from clipfuse.errors import ConfigError, DuplicateId

_COLUMN_VALUES: dict[str, Role] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
_KEEP = (0, 2, 1)
"""Roles in the order in which they get the rows of a rare label: train, test, validation."""


def make_split(
    ids: Sequence[str],
    targets: ArrayLike,
    *,
    name: str,
    validation: float,
    test: float,
    seed: int,
    fixed_test: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
) -> Split:
    """Deal rows into train, validation and test so that each label keeps its share in each (see ``dealing``).

    The sizes are ``round(fraction * rows)``, at least 1: exact, or as near as ``groups`` allow. A label with few
    positive rows keeps at least one of them in train, then in test, then in validation, as long as there is room.

    Args:
        ids: one a row, distinct.
        targets: (rows, labels) bool; any number of labels, none included.
        name: what the split is called.
        validation: share of validation rows, within (0, 1); of the remaining rows where ``fixed_test`` is given.
        test: share of test rows; not looked at where ``fixed_test`` is given.
        seed: 0 or above; the same seed gives the same split.
        fixed_test: the ids of the test rows, exactly; only the other rows are dealt.
        groups: (rows,) numbers, equal where rows must have one role; None: each row is on its own.

    Raises:
        ConfigError: shares that leave a role empty, ids in ``fixed_test`` that no row has, a negative seed, fewer
            groups than roles.
        DuplicateId: an id on two rows.
        ValueError: targets or groups that don't fit the ids.
    """
    truth, group_of = _checked(ids, targets, groups)
    if fixed_test is None:
        sizes = _sizes(len(ids), {"validation": validation, "test": test})
        role_of = deal(truth, sizes, seed, groups=group_of, keep=_KEEP)
        roles = {str(role): [ids[i] for i in np.flatnonzero(role_of == k).tolist()] for k, role in enumerate(ROLES)}
        return _split(name, "stratified", seed, {"validation": validation, "test": test}, roles)

    _distinct(fixed_test)
    wanted = set(fixed_test)
    strange = sorted(wanted.difference(ids))
    if strange:
        raise ConfigError(f"{len(strange)} test ids are not in the data: {_some(strange)}")
    if not wanted:
        raise ConfigError("the list of test ids is empty")
    held_out = np.array([row in wanted for row in ids])
    return _with_test(ids, truth, held_out, group_of, name, "test-table", validation, seed)


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


def folds(
    targets: ArrayLike, k: int, seed: int, *, groups: ArrayLike | None = None
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of row numbers (train, held out), each sorted; every row is held out exactly once.

    Dealt as in :func:`make_split`; the folds' sizes differ by at most one, or by as little as ``groups`` allow. With
    fewer groups than ``k`` there is one fold a group. A label whose positive rows all lie in one fold is absent from
    its training rows.

    Args:
        targets: (rows, labels) bool; any number of labels, none included.
        k: number of folds, at least 2.
        seed: 0 or above.
        groups: (rows,) numbers, equal where rows must be held out together; None: each row is on its own.

    Raises:
        ConfigError: fewer than 2 folds, rows or groups, a negative seed.
        ValueError: targets that are not two-dimensional, groups that don't fit them.
    """
    truth = np.asarray(targets).astype(bool, copy=False)
    if truth.ndim != 2:
        raise ValueError(f"targets should be (rows, labels), not {truth.ndim}-dimensional")
    rows = len(truth)
    units = rows if groups is None else len(np.unique(np.asarray(groups)))
    if k < 2 or units < 2:
        what = "rows" if groups is None else "groups of rows"
        raise ConfigError(f"folds need at least 2 folds and 2 {what}; there are {k} and {units}")
    k = min(k, units)
    sizes = [rows // k + (i < rows % k) for i in range(k)]
    fold_of = deal(truth, sizes, seed, groups=groups)
    return [(np.flatnonzero(fold_of != i), np.flatnonzero(fold_of == i)) for i in range(k)]


def cross_validation_splits(
    ids: Sequence[str],
    targets: ArrayLike,
    k: int,
    *,
    name: str,
    validation: float,
    seed: int,
    groups: ArrayLike | None = None,
) -> list[Split]:
    """``k`` splits whose test roles hold every row exactly once; they are called "NAME-1-of-K" and so on.

    Args:
        ids: one a row, distinct.
        targets: (rows, labels) bool.
        k: number of splits, at least 2.
        name: what their names begin with.
        validation: share of validation rows of the rows that are not in test, within (0, 1).
        seed: 0 or above.
        groups: (rows,) numbers, equal where rows must have one role; None: each row is on its own.

    Raises:
        ConfigError: as :func:`folds` and :func:`make_split`; fewer groups than splits.
        DuplicateId: an id on two rows.
        ValueError: targets or groups that don't fit the ids.
    """
    truth, group_of = _checked(ids, targets, groups)
    found = folds(truth, k, seed, groups=group_of)
    if len(found) < k:
        raise ConfigError(f"{len(ids)} rows in {len(found)} groups are too few for {k} splits")
    splits = []
    for number, (_, outside) in enumerate(found, start=1):
        held_out = np.zeros(len(ids), dtype=bool)
        held_out[outside] = True
        called = f"{name}-{number}-of-{k}"
        splits.append(_with_test(ids, truth, held_out, group_of, called, "cross-validation", validation, seed))
    return splits


def _checked(
    ids: Sequence[str], targets: ArrayLike, groups: ArrayLike | None
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """(rows, labels) targets and each row's group. Raises DuplicateId, and ValueError where they don't fit the ids."""
    _distinct(ids)
    truth = np.asarray(targets).astype(bool, copy=False)
    if truth.ndim != 2 or len(truth) != len(ids):
        raise ValueError(f"targets should be ({len(ids)}, labels) for {len(ids)} ids, not {truth.shape}")
    group_of = np.arange(len(ids)) if groups is None else np.asarray(groups)
    if group_of.shape != (len(ids),):
        raise ValueError(f"groups should be ({len(ids)},), not {group_of.shape}")
    return truth, group_of


def _with_test(
    ids: Sequence[str],
    truth: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    groups: NDArray[np.intp],
    name: str,
    method: SplitMethod,
    validation: float,
    seed: int,
) -> Split:
    """The split whose test rows are those ``held_out``, (rows,) bool; the others are dealt."""
    rest = np.flatnonzero(~held_out)
    sizes = _sizes(len(rest), {"validation": validation})
    role_of = deal(truth[rest], sizes, seed, groups=groups[rest], keep=(0, 1))
    roles = {
        "train": [ids[i] for i in rest[role_of == 0].tolist()],
        "validation": [ids[i] for i in rest[role_of == 1].tolist()],
        "test": [ids[i] for i in np.flatnonzero(held_out).tolist()],
    }
    return _split(name, method, seed, {"validation": validation}, roles)


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


def _distinct(ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids):
        twice = [row for row, count in Counter(ids).items() if count > 1]
        raise DuplicateId(f"{len(twice)} ids are on more than one row: {_some([repr(row) for row in twice])}")


def _some(items: Sequence[str], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
