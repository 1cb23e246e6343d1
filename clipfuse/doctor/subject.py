"""What is examined: rows of a cache, and what is known of them besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import Dataset, ImageRef
from clipfuse.data.split import ROLES, Split
from clipfuse.doctor.finding import Value
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.columns import places_of

_LONGEST = 200
"""Characters of a caption in a table of findings."""


@dataclass(frozen=True)
class OutOfFold:
    """What models said of rows that they had not seen.

    Attributes:
        probabilities: (rows of the samples, labels) float64, NaN where no model was asked.
        source: which models, in words.
    """

    probabilities: NDArray[np.float64]
    source: str


@dataclass(frozen=True)
class Subject:
    """Rows and what is known of them.

    Attributes:
        cache, samples: the features and the rows.
        split: which rows do what; None where there is no split.
        out_of_fold: for likely wrong labels; None where there are no probabilities.
        dataset: the tables that the rows came from, with their pictures; None where they are not known.
    """

    cache: FeatureCache
    samples: Samples
    split: Split | None = None
    out_of_fold: OutOfFold | None = None
    dataset: Dataset | None = None
    _roles: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def role(self, row: int) -> str:
        """What the split has the row do; "" where there is none, or the split does not know it."""
        if self.split is not None and not self._roles:
            self._roles.update({name: role for role in ROLES for name in self.split.roles[role]})
        return self._roles.get(self.samples.ids[row], "")

    def roles(self) -> NDArray[np.str_]:
        """Each row's role, (rows,)."""
        return np.array([self.role(row) for row in range(len(self))], dtype="U10")

    def where(self, row: int) -> str:
        """Table and line that the row came from."""
        samples = self.samples
        return f"{samples.tables[samples.table_of[row]]}:{samples.lines[row]}"

    def caption(self, row: int) -> str:
        """The caption, cut where it is long; "" where there is none."""
        text = self.samples.captions[row] or ""
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

    def labels(self, row: int) -> str:
        """Names of the row's labels, joined."""
        samples = self.samples
        if samples.labels is None:
            return ""
        return " | ".join(samples.label_names[label] for label in np.flatnonzero(samples.labels[row]).tolist())

    def pictures(self) -> Mapping[int, ImageRef]:
        """Row -> its picture's file, of those that are found."""
        if self.dataset is None:
            return {}
        places = places_of(self.dataset.ids).find(self.samples.ids).tolist()
        images = self.dataset.images
        return {row: found for row, place in enumerate(places) if place >= 0 and (found := images[place]) is not None}

    def pair(self, one: int, other: int) -> tuple[Value, ...]:
        """The columns :data:`PAIR` of two rows."""
        return (
            *(self.samples.ids[one], self.role(one), self.where(one)),
            *(self.samples.ids[other], self.role(other), self.where(other)),
        )


PAIR: Sequence[str] = ("id", "role", "line", "other id", "other role", "other line")
