"""Where to cut probabilities. To be chosen on validation rows, never on the rows that are reported."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.choose import EmptyRows, most_probable
from clipfuse.metrics import F1Name, checked, ratio

ThresholdMode = Literal["expected", "common", "per-label"]
SHRINKAGE = 10.0  # a label with this many positive rows lies half way between its own cut and the common one
_TIE = 1e-12  # for sums of rounded terms; micro F1 is compared exactly


def tune_thresholds(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    mode: ThresholdMode,
    metric: F1Name = "micro_f1",
    empty_rows: EmptyRows = "nothing",
) -> NDArray[np.float64]:
    """The thresholds that score best on these rows, (labels,) float64, each within (0, 1).

    The search is exact: candidates are the midpoints between neighbouring distinct probabilities, and one above and one
    below them all; among equal scores the threshold nearest 0.5 wins (then the higher). Without any positive row: 0.5.

    - ``expected``: one threshold for all labels, which has the highest expected micro-F1 if the probabilities are right
      (the plug-in rule of Lipton et al. 2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure"). The
      targets are not looked at, so a few hundred rows settle it where the best cut on them would be chance.
    - ``common``: one threshold for all labels, which maximises ``metric``.
    - ``per-label``: a label's own cut maximises its F1 and is drawn toward the common one where it rests on few rows:
      ``w * own + (1 - w) * common`` with ``w = positive rows / (positive rows + 10)``. So a label without positive
      rows takes the common one.

    Args:
        probabilities: (rows, labels) float, each within [0, 1]; logits are refused.
        targets: (rows, labels) bool.
        mode: "expected", "common" or "per-label".
        metric: the F1 that the common threshold maximises; the expected one is always of micro-F1.
        empty_rows: the rule that the labels will be chosen by; the common threshold is the best one under it.

    Raises:
        ValueError: an unknown mode or metric; shapes that differ, no rows, values out of range.
    """
    if mode not in get_args(ThresholdMode):
        raise ValueError(f"mode should be one of {', '.join(get_args(ThresholdMode))}, not {mode!r}")
    if metric not in get_args(F1Name):
        raise ValueError(f"metric should be one of {', '.join(get_args(F1Name))}, not {metric!r}")
    probabilities, targets = checked(probabilities, targets)
    labels = targets.shape[1]
    ranked = probabilities
    if empty_rows == "most-probable":  # under one threshold, that is the same as being sure of it
        ranked = probabilities.copy()
        ranked[np.arange(len(ranked)), most_probable(ranked)] = 1.0
    if mode == "expected":
        return np.full(labels, _common(ranked, ranked, "micro_f1"))
    common = np.full(labels, _common(ranked, targets, metric))
    if mode == "common":
        return common
    own = np.array([_common(probabilities[:, [i]], targets[:, [i]], "micro_f1") for i in range(labels)])
    positives = targets.sum(axis=0)
    weight = positives / (positives + SHRINKAGE)
    return np.asarray(weight * own + (1 - weight) * common, dtype=np.float64)


def _common(probabilities: NDArray[np.float64], targets: NDArray[Any], metric: F1Name) -> float:
    """The one threshold that maximises the metric over all cells; for micro-F1 targets may be probabilities."""
    if not targets.any():
        return 0.5
    order = np.argsort(-probabilities, axis=None, kind="stable")
    scores, truth = probabilities.ravel()[order], targets.ravel()[order]
    # The cut after position e predicts cells 0..e; it is possible where the next cell is lower.
    ends = np.concatenate([np.flatnonzero(scores[1:] != scores[:-1]), [len(scores) - 1]])
    upper = scores[ends]
    lower = np.append(scores[ends[:-1] + 1], 0.0)
    cuts = upper / 2 + lower / 2
    cuts = np.where(cuts > lower, cuts, upper)  # neighbouring floats: the midpoint may round down to the lower one
    values = _f1_after_each(truth, order, targets, metric)[ends]
    # Nothing predicted scores 0: that wins only where every probability of a positive cell is 0.
    cuts, values = np.append(cuts, scores[0] / 2 + 0.5), np.append(values, 0.0)
    possible = (cuts > 0) & (cuts < 1)
    cuts, values = cuts[possible], values[possible]
    tied = cuts[values >= values.max() - (0.0 if metric == "micro_f1" else _TIE)]
    return float(tied[np.argmin(np.abs(tied - 0.5))])


def _f1_after_each(
    truth: NDArray[Any], order: NDArray[np.intp], targets: NDArray[Any], metric: F1Name
) -> NDArray[np.float64]:
    """The metric when the first 1, 2, … cells of the order are predicted, (cells,).

    Macro, weighted and samples F1 are weighted sums of F1 over groups of cells (labels or rows). Each predicted cell
    moves the F1 of its own group only, so the sum is the running sum of those moves.
    """
    cells = len(truth)
    if metric == "micro_f1":
        return np.asarray(2 * np.cumsum(truth) / (np.arange(1, cells + 1) + truth.sum()), dtype=np.float64)
    rows, labels = targets.shape
    by_row = metric == "samples_f1"
    group = order // labels if by_row else order % labels
    positives = targets.sum(axis=1 if by_row else 0)
    share = positives / positives.sum() if metric == "weighted_f1" else np.full(len(positives), 1 / len(positives))
    size = labels if by_row else rows
    together = np.argsort(group, kind="stable")  # groups one after another, each in the order of prediction
    tp = np.cumsum(truth[together].reshape(-1, size), axis=1)
    f1 = ratio(2 * tp, np.arange(1, size + 1) + positives[:, None])
    moves = np.empty(cells)
    moves[together] = (share[:, None] * np.diff(f1, axis=1, prepend=0.0)).ravel()
    return np.cumsum(moves)
