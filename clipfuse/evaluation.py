"""Scores with intervals, and the trivial rows that they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.bootstrap import bootstrap_intervals, paired_difference
from clipfuse.calibration import calibration_error, label_calibration_errors, log_loss
from clipfuse.choose import EmptyRows
from clipfuse.metrics import F1Name, evaluate
from clipfuse.trivial import THRESHOLD, TrivialRow

REPLICATES = 1000
GAINS: tuple[F1Name, ...] = ("micro_f1", "macro_f1", "samples_f1")
"""Scores whose gain over a cut at 0.5 is told."""
SEED = 20260101
"""Seed of the bootstrap: the same rows and predictions give the same interval anywhere."""


def score_rows(
    probabilities: NDArray[np.floating[Any]],
    targets: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    labels: Sequence[str],
    *,
    empty_rows: EmptyRows = "nothing",
) -> dict[str, Any]:
    """Scores and their 95% bootstrap intervals as JSON values: ``{"scores": ..., "intervals": {metric: [low, high]}}``.

    Args:
        probabilities: (rows, labels) in [0, 1].
        targets: (rows, labels).
        thresholds: (labels,).
        labels: their names.
        empty_rows: what becomes of a row with no label at its threshold.
    """
    scores = evaluate(probabilities, targets, thresholds, labels, empty_rows=empty_rows)
    intervals = bootstrap_intervals(
        probabilities, targets, thresholds, replicates=REPLICATES, seed=SEED, empty_rows=empty_rows
    )
    return {
        "scores": scores.to_dict(),
        "intervals": {name: [interval.low, interval.high] for name, interval in intervals.items()},
    }


def score_trivial(
    rows: Sequence[TrivialRow], targets: NDArray[np.bool_], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The same for each trivial row, with its name; they were fitted on training rows' labels only."""
    cut = np.full(len(labels), THRESHOLD)
    return [
        {"name": row.name, "row": asdict(row), **score_rows(row.predict(len(targets)), targets, cut, labels)}
        for row in rows
    ]


def threshold_gain(
    probabilities: NDArray[np.floating[Any]],
    targets: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    *,
    empty_rows: EmptyRows = "nothing",
) -> dict[str, dict[str, float]]:
    """What thresholds and the rule for empty rows are worth beside a plain cut at 0.5, as JSON values.

    For micro, macro and samples F1 ``{"observed": ..., "mean": ..., "low": ..., "high": ...}``: the difference on these
    rows, and the mean and 95% interval of a paired bootstrap. An honest one needs rows that chose nothing.

    Args:
        probabilities: (rows, labels) in [0, 1].
        targets: (rows, labels).
        thresholds: (labels,).
        empty_rows: what becomes of a row with no label at its threshold.
    """
    plain = np.full(targets.shape[1], THRESHOLD)
    return {
        metric: asdict(
            paired_difference(
                probabilities,
                thresholds,
                probabilities,
                plain,
                targets,
                metric,
                replicates=REPLICATES,
                seed=SEED,
                empty_rows=(empty_rows, "nothing"),
            )
        )
        for metric in GAINS
    }


def score_calibration(probabilities: NDArray[np.floating[Any]], targets: NDArray[np.bool_]) -> dict[str, float]:
    """How far probabilities can be taken at their word, as JSON values; 0 is best in each.

    ``error``: expected calibration error over all cells; ``label_error``: its mean over the labels, in which rare ones
    count as much as frequent ones; ``log_loss``: mean over all cells.

    Args:
        probabilities: (rows, labels) in [0, 1].
        targets: (rows, labels).
    """
    return {
        "error": calibration_error(probabilities, targets),
        "label_error": float(label_calibration_errors(probabilities, targets).mean()),
        "log_loss": log_loss(probabilities, targets),
    }
