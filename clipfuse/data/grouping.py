"""Rows that a split keeps together: which, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which rows count as one and the same thing seen twice: equal pictures, equal captions, or similar features.

    Attributes:
        similarity: cosine from which features counted as similar.
        tables: names of the feature tables that were looked at; empty where there were none.
        groups: ids of each group of two rows or more, in the dataset's order; every other row stands alone.

    Raises ValueError where an id is in two groups, or a group has less than two rows.
    """

    similarity: float
    tables: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        members = [name for group in self.groups for name in group]
        if any(len(group) < 2 for group in self.groups):
            raise ValueError("a group needs at least two rows")
        if len(set(members)) != len(members):
            raise ValueError("an id is in two groups")

    def of(self, ids: Sequence[str]) -> NDArray[np.intp]:
        """Number of each id's group, (n,); two ids have one number where they are of one group."""
        place = {name: number for number, group in enumerate(self.groups) for name in group}
        alone = len(self.groups)
        return np.array([place.get(name, alone + row) for row, name in enumerate(ids)], dtype=np.intp)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "similarity": self.similarity,
            "tables": list(self.tables),
            "groups": [list(group) for group in self.groups],
        }

    @classmethod
    def from_dict(cls, values: object) -> Grouping:
        """The opposite of :meth:`to_dict`. ValueError where the content is another."""
        if not isinstance(values, dict) or set(values) != {"similarity", "tables", "groups"}:
            raise ValueError("its grouping should have the keys similarity, tables and groups")
        similarity, tables, groups = values["similarity"], values["tables"], values["groups"]
        if isinstance(similarity, bool) or not isinstance(similarity, int | float) or not 0 < similarity <= 1:
            raise ValueError(f"its grouping can't have the similarity {similarity!r}")
        if not _strings(tables) or not isinstance(groups, list) or not all(map(_strings, groups)):
            raise ValueError("its grouping should have names of tables and lists of ids")
        return cls(similarity, tuple(tables), tuple(map(tuple, groups)))


def _strings(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
