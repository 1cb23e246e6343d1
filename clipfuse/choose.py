"""From probabilities to chosen labels: the one place where that is done."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

EmptyRows = Literal["nothing", "most-probable"]
"""What becomes of a row with no label at its threshold: it has none, or the most probable one of all."""


def choose(
    probabilities: NDArray[np.floating[Any]], thresholds: ArrayLike, *, empty_rows: EmptyRows = "nothing"
) -> NDArray[np.bool_]:
    """Chosen labels, (rows, labels) bool: those whose probability is at least their threshold.

    Args:
        probabilities: (rows, labels) float.
        thresholds: one float, or (labels,) floats, each within [0, 1].
        empty_rows: what a row gets that would have none; of equal probabilities the first label's wins.

    Raises:
        ValueError: thresholds of another number, or outside [0, 1]; an unknown ``empty_rows``.
    """
    if empty_rows not in get_args(EmptyRows):
        raise ValueError(f"empty_rows should be one of {', '.join(get_args(EmptyRows))}, not {empty_rows!r}")
    chosen = probabilities >= _checked_thresholds(thresholds, probabilities.shape[1])
    if empty_rows == "most-probable" and probabilities.shape[1]:
        empty = np.flatnonzero(~chosen.any(axis=1))
        chosen[empty, most_probable(probabilities[empty])] = True
    return chosen


def most_probable(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Each row's most probable label, (rows,); the first of equal ones."""
    return np.asarray(np.argmax(probabilities, axis=1))


def _checked_thresholds(thresholds: ArrayLike, labels: int) -> NDArray[np.float64]:
    values = np.asarray(thresholds, dtype=np.float64)
    if values.shape not in ((), (labels,)):
        raise ValueError(f"thresholds should be one number or {labels}, not of shape {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("thresholds cut probabilities: they should lie within [0, 1]")
    return np.broadcast_to(values, (labels,))  # a single number would be rounded to float32 beside float32
