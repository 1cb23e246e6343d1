"""Held-out rows that training has seen under another id."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from clipfuse.data.split import Role, Split
from clipfuse.equal_inputs import Keys, caption_keys, picture_keys
from clipfuse.near_duplicates import Readable, centred, compared, first_similar
from clipfuse.stream_tables import StreamTables
from clipfuse_cache import Samples

LeakKind = Literal["picture", "caption", "similar"]
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)
SIMILARITY = 0.9
"""Cosine of centred features from which rows are near-duplicates."""
PRODUCTS = 50_000_000_000
"""Multiplications that the search for near-duplicates may take, about a second; more rows are sampled."""
_BEFORE: dict[Role, tuple[Role, ...]] = {"test": ("train", "validation"), "validation": ("train",)}
_OTHER: dict[Role, str] = {"test": "training or validation", "validation": "training"}


@dataclass(frozen=True, slots=True)
class Leak:
    """Rows of one role that are also in a role that came before it.

    Attributes:
        kind: picture, the same file; caption, the same words, which short captions often have by chance; similar, by
            their features, and neither of the others.
        role: where they are held out.
        rows: how many; each is counted under the first kind that fits.
        first: the first of them, and the row whose double it is.
        looked_at: rows of the role that were compared; None in runs that did not keep it.
    """

    kind: LeakKind
    role: Role
    rows: int
    first: tuple[str, str]
    looked_at: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"first": list(self.first)}


def find_leaks(
    tables: StreamTables, samples: Samples, splits: Sequence[Split], *, products: int = PRODUCTS
) -> list[Leak]:
    """What of the test rows is in train or validation too, and of the validation rows in train.

    Equal pictures and captions are looked for (case and space in captions do not count), then near-duplicates: by the
    groups of a split's grouping; where it has none, by the features that are read of pictures, if any, or of captions.

    Args:
        tables: what a model reads of the samples.
        samples: hold every row of the splits.
        splits: the roles; several are folds, and a row is counted once however many of them it leaks in.
        products: multiplications that the comparison of features may take, for each role of each split: beyond them
            evenly spaced rows of the role are compared.

    Raises:
        CacheError: a row of the split that ``samples`` lack.
        CacheCorrupt: a shard is damaged.
    """
    pictures, captions = picture_keys(samples), caption_keys(samples)
    names = [] if all(split.grouping for split in splits) else compared(tables)
    readable = centred([tables[name] for name in names], samples.ids)
    leaks = []
    for role in _BEFORE:
        sides = [_sides(samples, split, role) for split in splits]
        counted: set[int] = set()
        for kind in LEAK_KINDS:
            doubles: dict[int, int] = {}
            looked_at: set[int] = set()
            for split, (held_out, earlier) in zip(splits, sides, strict=True):
                rest = [row for row in held_out if row not in counted]
                if kind != "similar":
                    found = _equal(pictures if kind == "picture" else captions, rest, earlier)
                elif split.grouping is not None:
                    found = _equal(split.grouping.of(samples.ids).tolist(), rest, earlier)
                else:
                    rest = _affordable(rest, len(earlier), readable, products)
                    found = _similar(readable, rest, earlier)
                looked_at.update(rest)
                doubles = {**found, **doubles}
            if doubles:
                one = min(doubles)
                first = (samples.ids[one], samples.ids[doubles[one]])
                leaks.append(Leak(kind, role, len(doubles), first, len(looked_at)))
            counted.update(doubles)
    return leaks


def _sides(samples: Samples, split: Split, role: Role) -> tuple[list[int], list[int]]:
    """Numbers of the rows of the role, and of those that came before."""
    before = [name for other in _BEFORE[role] for name in split.roles[other]]
    return samples.rows(split.roles[role]).tolist(), samples.rows(before).tolist()


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """One line for people, empty where there are none."""
    return "; ".join(_describe(leak) for leak in leaks)


def _describe(leak: Leak) -> str:
    who, have = f"{leak.rows} {leak.role} {'row' if leak.rows == 1 else 'rows'}", "has" if leak.rows == 1 else "have"
    whose = f"a {_OTHER[leak.role]} row"
    first = f"first: {leak.first[0]}, like {leak.first[1]}"
    if leak.kind == "picture":
        return f"{who} {have} the picture of {whose} ({first})"
    if leak.kind == "caption":
        return f"{who} {have} the caption of {whose} word for word, as short captions often do ({first})"
    compared_rows = "" if leak.looked_at is None else f" of {leak.looked_at} compared"
    return f"{who}{compared_rows} {have} a near-duplicate among the {_OTHER[leak.role]} rows ({first})"


def _equal(keys: Keys, rows: Iterable[int], earlier: Iterable[int]) -> dict[int, int]:
    """Row -> the first earlier row with its key."""
    first = _first_of_each(keys, earlier)
    return {row: first[keys[row]] for row in rows if keys[row] in first}


def _affordable(rows: Sequence[int], others: int, tables: Sequence[Readable], products: int) -> list[int]:
    """As many of ``rows``, evenly spaced, as can be compared with the others, at least one where there are any."""
    if not tables or not rows or not others:
        return []
    most = max(1, products // (others * tables[0].dim))
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)).tolist()]


def _similar(tables: Sequence[Readable], rows: Sequence[int], earlier: Sequence[int]) -> dict[int, int]:
    """Row -> the first earlier row that every table says is similar."""
    if not rows:
        return {}
    one, other = ([table.rows(np.array(side)) for table in tables] for side in (rows, earlier))
    found = first_similar(one, other, SIMILARITY)
    return {row: earlier[there] for row, there in zip(rows, found.tolist(), strict=True) if there >= 0}


def _first_of_each(keys: Keys, rows: Iterable[int]) -> dict[Hashable, int]:
    found: dict[Hashable, int] = {}
    for row in rows:
        key = keys[row]
        if key is not None:
            found.setdefault(key, row)
    return found
