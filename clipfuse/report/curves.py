"""The numbers behind the report's figures; the pictures of them are drawn elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.calibration import BINS
from clipfuse.choose import EmptyRows, choose
from clipfuse.metrics import ratio

CUTS = np.linspace(0.01, 0.99, 99)
"""Thresholds that F1 is drawn at."""
_Z = 1.96  # of a 95% interval


@dataclass(frozen=True)
class PrecisionRecall:
    """One label's points, from the highest threshold down: each where another probability begins to count. All are
    (points,) float64."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Cells by their probability, in bins of equal width that hold any. All are (bins,).

    Attributes:
        said: mean probability.
        true: share of them that is true.
        low, high: 95% interval of that share (Wilson 1927).
        cells: how many.
    """

    said: NDArray[np.float64]
    true: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    cells: NDArray[np.int64]


def precision_recall(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.bool_]) -> PrecisionRecall:
    """One label's curve. Both are (rows,); at least one row is positive."""
    order = np.argsort(-probabilities, kind="stable")
    scores, hits = probabilities[order].astype(np.float64), np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    return PrecisionRecall(hits[ends] / (ends + 1), hits[ends] / hits[-1], scores[ends])


def label_f1_at(
    probabilities: NDArray[np.floating[Any]], truth: NDArray[np.bool_], cuts: NDArray[np.float64] = CUTS
) -> NDArray[np.float64]:
    """One label's F1 where it is predicted from each of ``cuts`` on, (cuts,). The first two are (rows,)."""
    all_of_them, right = np.sort(probabilities.astype(np.float64)), np.sort(probabilities[truth].astype(np.float64))
    predicted = len(all_of_them) - np.searchsorted(all_of_them, cuts)
    hits = len(right) - np.searchsorted(right, cuts)
    return ratio(2 * hits, predicted + len(right))


def common_f1_at(
    probabilities: NDArray[np.floating[Any]],
    truth: NDArray[np.bool_],
    empty_rows: EmptyRows,
    cuts: NDArray[np.float64] = CUTS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Micro and macro F1 with each of ``cuts`` as the one threshold of all labels, (cuts,) each. The first two are
    (rows, labels)."""
    micro, macro = np.zeros(len(cuts)), np.zeros(len(cuts))
    support = truth.sum(axis=0)
    for place, cut in enumerate(cuts.tolist()):
        predicted = choose(probabilities, cut, empty_rows=empty_rows)
        hits, marked = (predicted & truth).sum(axis=0), predicted.sum(axis=0)
        micro[place] = ratio(2 * hits.sum(), marked.sum() + support.sum())
        macro[place] = ratio(2 * hits, marked + support).mean()
    return micro, macro


def reliability(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """All cells in the bins that :func:`clipfuse.calibration.calibration_error` takes."""
    said, true = probabilities.astype(np.float64).ravel(), truth.ravel()
    bin_of = np.minimum((said * bins).astype(np.intp), bins - 1)
    cells = np.bincount(bin_of, minlength=bins)
    there = cells > 0
    n = cells[there]
    share = np.bincount(bin_of, true, minlength=bins)[there] / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    mean = np.bincount(bin_of, said, minlength=bins)[there] / n
    return Reliability(mean, share, np.clip(middle - half, 0, share), np.clip(middle + half, share, 1), n)


def co_occurrence(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(labels, labels) int64: rows that have both; on the diagonal, rows that have the label. ``chosen``: (rows,
    labels)."""
    cells = chosen.astype(np.float64)  # whole numbers below 2**53: exact, and a product of floats is quick
    return np.asarray((cells.T @ cells).round(), dtype=np.int64)
