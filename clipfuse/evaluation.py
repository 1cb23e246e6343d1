"""Scores with intervals, and the trivial rows that they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.bootstrap import Difference, bootstrap_intervals, paired_difference
from clipfuse.errors import RunError
from clipfuse.metrics import evaluate
from clipfuse.run import Run
from clipfuse.trivial import THRESHOLD, TrivialRow

REPLICATES = 1000
SEED = 20260101
"""Seed of the bootstrap: the same rows and predictions give the same interval anywhere."""


def score_rows(
    probabilities: NDArray[np.floating[Any]],
    targets: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Scores and their 95% bootstrap intervals as JSON values: ``{"scores": ..., "intervals": {metric: [low, high]}}``.

    Args:
        probabilities: (rows, labels) in [0, 1].
        targets: (rows, labels).
        thresholds: (labels,).
        labels: their names.
    """
    scores = evaluate(probabilities, targets, thresholds, labels)
    intervals = bootstrap_intervals(probabilities, targets, thresholds, replicates=REPLICATES, seed=SEED)
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


def paired(first: Run, second: Run) -> Difference:
    """Micro-F1 on the test rows, first run minus second, with a 95% interval by a paired bootstrap.

    Raises:
        RunError: the runs were scored on different rows.
    """
    rows = [(run.metrics["split"]["digest"], run.metrics["truth"]) for run in (first, second)]
    if rows[0] != rows[1]:
        raise RunError(f"{first.name} and {second.name} were scored on different rows", "Compare runs of one split")
    ours, theirs = first.predictions(), second.predictions()
    test = ours.of_role("test")
    place = {name: row for row, name in enumerate(theirs.ids)}
    same = [place[ours.ids[row]] for row in test]
    return paired_difference(
        ours.probabilities[test],
        first.thresholds(),
        theirs.probabilities[same],
        second.thresholds(),
        ours.targets[test],
        replicates=REPLICATES,
        seed=SEED,
    )
