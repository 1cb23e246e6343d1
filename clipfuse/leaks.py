"""Held-out rows that training has seen under another id."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clipfuse.data.split import Role, Split
from clipfuse.equal_inputs import Keys, caption_keys, picture_keys
from clipfuse_cache import Samples

LeakKind = Literal["picture", "caption", "similar"]
_BEFORE: dict[Role, tuple[Role, ...]] = {"test": ("train", "validation"), "validation": ("train",)}
_OTHER: dict[Role, str] = {"test": "training or validation", "validation": "training"}


@dataclass(frozen=True, slots=True)
class Leak:
    """Rows of one role that are also in a role that came before it.

    Attributes:
        kind: picture, the same file; caption, the same words, which short captions often have by chance; similar, in
            one group of the split's grouping, and neither of the others.
        role: where they are held out.
        rows: how many; each is counted under the first kind that fits.
        first: the first of them, and the row whose double it is.
    """

    kind: LeakKind
    role: Role
    rows: int
    first: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"first": list(self.first)}


def find_leaks(samples: Samples, split: Split) -> list[Leak]:
    """What of the test rows is in train or validation too, and of the validation rows in train.

    Equal pictures and captions are looked at (case and space in captions are not), and the groups of the split's
    grouping, where it has one: with those there is nothing to find unless the sides were given.

    Args:
        samples: hold every row of the split.
        split: the roles.

    Raises:
        CacheError: a row of the split that ``samples`` lack.
    """
    keys: list[tuple[LeakKind, Keys]] = [("picture", picture_keys(samples)), ("caption", caption_keys(samples))]
    if split.grouping is not None:
        keys.append(("similar", split.grouping.of(samples.ids).tolist()))
    rows = {role: samples.rows(ids).tolist() for role, ids in split.roles.items()}
    leaks = []
    for role, before in _BEFORE.items():
        counted: set[int] = set()
        earlier = [row for name in before for row in rows[name]]
        for kind, of_row in keys:
            double = _first_of_each(of_row, earlier)
            found = [row for row in rows[role] if row not in counted and of_row[row] in double]
            counted.update(found)
            if found:
                one = found[0]
                leaks.append(Leak(kind, role, len(found), (samples.ids[one], samples.ids[double[of_row[one]]])))
    return leaks


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
    return f"{who} {have} a near-duplicate among the {_OTHER[leak.role]} rows ({first})"


def _first_of_each(keys: Keys, rows: Iterable[int]) -> dict[Hashable, int]:
    found: dict[Hashable, int] = {}
    for row in rows:
        key = keys[row]
        if key is not None:
            found.setdefault(key, row)
    return found
