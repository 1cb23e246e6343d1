"""Scores of multi-label predictions.

Conventions, the same in every table that clipfuse prints:

- A label is predicted where its probability is **at least** its threshold; a row without any such label may get its
  most probable one, where that rule (``empty_rows``) is asked for.
- F1 is ``2 tp / (2 tp + fp + fn)`` and 0 where that is 0/0, as scikit-learn's default (``zero_division`` unset) has it;
  so are precision and recall. Hence a label with neither a positive row nor a prediction has F1 0 and *stays in*
  the macro mean, and a row with neither a true nor a predicted label adds 0 to the samples F1, although it was
  predicted rightly. (Subset and label accuracy count such a row as right.)
- micro F1: from tp, fp and fn summed over all labels. macro F1: the plain mean over labels. weighted F1: the mean over
  labels, weighted by their positive rows; 0 where there are none. samples F1: the mean over rows.
- Average precision (AP) is scikit-learn's: the sum over distinct probabilities, from the highest down, of the gain in
  recall times the precision there; no interpolation, equal probabilities enter together. It has no value for a label
  without positive rows: mAP is the mean over the *other* labels, and ``labels_without_positives`` says how many
  were left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.choose import EmptyRows, choose

F1Name = Literal["micro_f1", "macro_f1", "samples_f1", "weighted_f1"]
MetricName = Literal[
    "micro_f1",
    "macro_f1",
    "samples_f1",
    "weighted_f1",
    "mean_average_precision",
    "subset_accuracy",
    "label_accuracy",
]
METRICS: tuple[MetricName, ...] = get_args(MetricName)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label's scores; ``support`` is its number of positive rows, without which its AP is None."""

    name: str
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What predictions are worth on some rows. The module's docstring has the conventions.

    ``mean_average_precision`` is None where no label has a positive row; ``label_accuracy`` is the share of right cells
    (1 - Hamming loss), ``subset_accuracy`` the share of rows that are right in every label.
    """

    rows: int
    micro_f1: float
    macro_f1: float
    samples_f1: float
    weighted_f1: float
    mean_average_precision: float | None
    labels_without_positives: int
    subset_accuracy: float
    label_accuracy: float
    labels: tuple[LabelScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, ready for JSON."""
        return asdict(self) | {"labels": [asdict(label) for label in self.labels]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scores:
        """The opposite of :meth:`to_dict`. ValueError where a key is missing or unknown, or a value is no number."""
        plain = _plain(cls, {key: value for key, value in values.items() if key != "labels"}, without="labels")
        labels = values.get("labels")
        if not isinstance(labels, list | tuple):
            raise ValueError("scores: 'labels' should be a list, one entry a label")
        return cls(**plain, labels=tuple(LabelScores(**_plain(LabelScores, label)) for label in labels))


def evaluate(
    probabilities: ArrayLike,
    targets: ArrayLike,
    thresholds: ArrayLike,
    label_names: Sequence[str],
    *,
    empty_rows: EmptyRows = "nothing",
) -> Scores:
    """Score probabilities against the truth.

    Args:
        probabilities: (rows, labels) float, each within [0, 1].
        targets: (rows, labels) bool, or 0/1.
        thresholds: one float, or (labels,) floats, each within [0, 1].
        label_names: one name a label, in the columns' order.
        empty_rows: what becomes of a row with no label at its threshold (see :func:`clipfuse.choose.choose`).

    Raises:
        ValueError: shapes that differ, no row or no label, values that are not finite or out of range.
    """
    probabilities, targets = checked(probabilities, targets)
    rows, labels = targets.shape
    if len(label_names) != labels:
        raise ValueError(f"{len(label_names)} label names for {labels} labels")
    predicted = choose(probabilities, thresholds, empty_rows=empty_rows)

    hits = predicted & targets
    tp = hits.sum(axis=0)
    support = targets.sum(axis=0)
    marked = predicted.sum(axis=0)
    f1 = ratio(2 * tp, marked + support)
    row_f1 = ratio(2 * hits.sum(axis=1), predicted.sum(axis=1) + targets.sum(axis=1))
    right = predicted == targets
    precision, recall = ratio(tp, marked), ratio(tp, support)
    ap = average_precision(probabilities, targets)
    has_positives = support > 0
    return Scores(
        rows=rows,
        micro_f1=float(ratio(2 * tp.sum(), marked.sum() + support.sum())),
        macro_f1=float(f1.mean()),
        samples_f1=float(row_f1.mean()),
        weighted_f1=float(ratio((f1 * support).sum(), support.sum())),
        mean_average_precision=float(ap[has_positives].mean()) if has_positives.any() else None,
        labels_without_positives=int((~has_positives).sum()),
        subset_accuracy=float(right.all(axis=1).mean()),
        label_accuracy=float(right.mean()),
        labels=tuple(
            LabelScores(
                name=str(name),
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                average_precision=float(ap[i]) if has_positives[i] else None,
                support=int(support[i]),
            )
            for i, name in enumerate(label_names)
        ),
    )


def average_precision(probabilities: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Each label's average precision, (labels,) float64; nan where a label has no positive row.

    ``sum over positive rows of (precision at the end of the row's tie group) / positive rows``, which is scikit-learn's
    ``sum (recall_n - recall_{n-1}) precision_n`` over distinct probabilities. Arguments and errors as :func:`evaluate`.
    """
    probabilities, targets = checked(probabilities, targets)
    rows, labels = targets.shape
    order = np.argsort(-probabilities, axis=0, kind="stable")
    scores = np.take_along_axis(probabilities, order, axis=0)
    truth = np.take_along_axis(targets, order, axis=0)
    is_end = np.ones((rows, labels), dtype=bool)
    is_end[:-1] = scores[:-1] != scores[1:]
    # Each position's end of tie group: the nearest end at or after it.
    end = np.where(is_end, np.arange(rows)[:, None], rows)
    end = np.minimum.accumulate(end[::-1], axis=0)[::-1]
    precision = np.take_along_axis(np.cumsum(truth, axis=0), end, axis=0) / (end + 1)
    positives = truth.sum(axis=0)
    total = (precision * truth).sum(axis=0)
    return np.where(positives > 0, total / np.maximum(positives, 1), np.nan)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Elementwise quotient as float64; 0 where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    quotient = np.zeros(bottom.shape)
    np.divide(top, bottom, out=quotient, where=bottom != 0)
    return quotient


def checked(probabilities: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities as float64 and targets as bool, both (rows, labels).

    Raises:
        ValueError: shapes that differ, no row or no label, probabilities that are not finite or outside [0, 1],
            targets other than 0 and 1.
    """
    truth = checked_targets(targets)
    given = np.asarray(probabilities)
    if given.dtype.kind not in "fiub":
        raise ValueError(f"probabilities should be floats, not {given.dtype}")
    values = given.astype(np.float64, copy=False)
    if values.shape != truth.shape:
        raise ValueError(f"probabilities are {values.shape}, targets {truth.shape}: they should be the same")
    low, high = float(values.min()), float(values.max())  # nan if any is nan
    if not (low >= 0 and high <= 1):
        found = "values that are not finite" if math.isnan(low) else f"values from {low:g} to {high:g}"
        raise ValueError(f"probabilities should lie within [0, 1]; these have {found} (are they logits?)")
    return values, truth


def checked_targets(targets: ArrayLike) -> NDArray[np.bool_]:
    """Targets as bool, (rows, labels). ValueError where they are not a table of 0 and 1 with a row and a label."""
    given = np.asarray(targets)
    if given.ndim != 2:
        raise ValueError(f"targets should be (rows, labels), not {given.ndim}-dimensional")
    if 0 in given.shape:
        raise ValueError(f"no {'rows' if given.shape[0] == 0 else 'labels'} to score: targets are {given.shape}")
    if given.dtype.kind not in "fiub" or not np.logical_or(given == 0, given == 1).all():
        raise ValueError("targets should be True/False or 0/1")
    return given.astype(bool, copy=False)


_COUNTS = {"rows", "labels_without_positives", "support"}
_MAY_BE_NONE = {"mean_average_precision", "average_precision"}


def _plain(cls: type[Scores | LabelScores], values: object, without: str = "") -> dict[str, Any]:
    """The dataclass' fields out of a mapping; ValueError where the keys or the values' types are others."""
    expected = {field.name for field in fields(cls)} - {without}
    if not isinstance(values, Mapping) or set(values) != expected:
        found = sorted(map(str, values)) if isinstance(values, Mapping) else values
        raise ValueError(f"scores: expected the keys {sorted(expected)}, found {found}")
    for key, value in values.items():
        if key == "name":
            right = isinstance(value, str)
        elif key in _COUNTS:
            right = isinstance(value, int) and not isinstance(value, bool)
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            right = is_number or (value is None and key in _MAY_BE_NONE)
        if not right:
            raise ValueError(f"scores: {key} can't be {value!r}")
    return dict(values)
