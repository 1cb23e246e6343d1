"""What a model has to beat: predictions that look at no picture and no caption.

Fitted on the training rows' labels only. A constant prediction of the most frequent labels has tied or beaten reported
models, so every score table starts with these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.metrics import checked_targets

THRESHOLD = 0.5  # the cut for every trivial row: nothing here is tuned
TrivialKind = Literal["nothing", "most-frequent", "prior"]


@dataclass(frozen=True, slots=True)
class TrivialRow:
    """One constant prediction. ``labels`` are those that :data:`THRESHOLD` predicts; ``k`` is set for most-frequent."""

    name: str
    kind: TrivialKind
    k: int | None
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    def predict(self, rows: int) -> NDArray[np.float64]:
        """The same probabilities for every row, (rows, labels) float64."""
        return np.tile(np.asarray(self.probabilities, dtype=np.float64), (rows, 1))


def trivial_rows(
    train_targets: ArrayLike, label_names: Sequence[str], *, ks: Sequence[int] = (1, 2, 3)
) -> list[TrivialRow]:
    """No label; the k most frequent labels for each k of ``ks``; the label prior.

    "Most frequent" predicts 1 for its labels and 0 for others (equal frequencies: the earlier column first). The prior
    predicts each label's training frequency: below 0.5 it counts as not predicted. A k above the number of labels is
    skipped. All rows give every label one probability, so that each label's AP is its frequency in the scored rows.

    Args:
        train_targets: (training rows, labels) bool.
        label_names: one name a label.
        ks: each at least 1.

    Raises:
        ValueError: no training row, names that don't fit the columns, a k below 1.
    """
    targets = checked_targets(train_targets)
    labels = targets.shape[1]
    if len(label_names) != labels:
        raise ValueError(f"{len(label_names)} label names for {labels} labels")
    if any(k < 1 for k in ks):
        raise ValueError(f"ks should be at least 1, not {list(ks)}")
    frequency = targets.mean(axis=0)
    by_frequency = np.argsort(-targets.sum(axis=0), kind="stable")

    def row(name: str, kind: TrivialKind, k: int | None, probabilities: NDArray[np.float64]) -> TrivialRow:
        predicted = tuple(str(label_names[i]) for i in np.flatnonzero(probabilities >= THRESHOLD).tolist())
        return TrivialRow(name, kind, k, predicted, tuple(probabilities.tolist()))

    rows = [row("no label", "nothing", None, np.zeros(labels))]
    for k in ks:
        if k <= labels:
            constant = np.zeros(labels)
            constant[by_frequency[:k]] = 1.0
            name = "most frequent label" if k == 1 else f"{k} most frequent labels"
            rows.append(row(name, "most-frequent", k, constant))
    rows.append(row("label prior", "prior", None, frequency))
    return rows
