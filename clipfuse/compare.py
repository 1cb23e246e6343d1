"""Two runs on the same test rows: how far apart they are, and whether these rows tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfuse.bootstrap import Difference, label_differences, paired_difference
from clipfuse.choose import EmptyRows, choose
from clipfuse.errors import RunError
from clipfuse.evaluation import REPLICATES, SEED
from clipfuse.metrics import MetricName, evaluate
from clipfuse.repeats import has_seeds
from clipfuse.run import Run

COMPARED: tuple[MetricName, ...] = ("micro_f1", "macro_f1", "samples_f1", "mean_average_precision")


@dataclass(frozen=True)
class LabelComparison:
    """One label.

    Attributes:
        name: the label's.
        support: test rows that have it.
        first, second: F1.
        difference: of F1, first minus second, by a paired bootstrap.
        only_first, only_second: rows that one run has right and the other has wrong.
        p_value: McNemar's exact test on these.
        adjusted: the same after Holm's correction for as many tests as there are labels.
    """

    name: str
    support: int
    first: float
    second: float
    difference: Difference
    only_first: int
    only_second: int
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        rows: test rows.
        scores: metric -> first's, second's and their difference, None where it has no value.
        labels: the same of each label.
        one_of_several: names of those that were trained with several seeds: what is compared is the first one's model,
            and what ``bench`` shows is the mean.
    """

    first: str
    second: str
    rows: int
    scores: dict[str, tuple[float, float, Difference] | None]
    labels: tuple[LabelComparison, ...]
    one_of_several: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Said:
    """What a run says of the test rows, (rows, labels) probabilities, and how it chooses by that."""

    probabilities: NDArray[np.float32]
    thresholds: NDArray[np.float64]
    empty_rows: EmptyRows


def compare(first: Run, second: Run) -> Comparison:
    """Compare two runs on the test rows of both, in all and label by label. Differences are first minus second.

    Raises:
        RunError: the runs were scored on different rows or labels.
    """
    targets, (a, b) = _same_rows(first, second)
    names = list(first.labels)
    each = [
        evaluate(said.probabilities, targets, said.thresholds, names, empty_rows=said.empty_rows) for said in (a, b)
    ]
    chosen = [choose(said.probabilities, said.thresholds, empty_rows=said.empty_rows) for said in (a, b)]
    differences = label_differences(chosen[0], chosen[1], targets, replicates=REPLICATES, seed=SEED)
    right = [one == targets for one in chosen]
    only = [(right[0] & ~right[1]).sum(0), (right[1] & ~right[0]).sum(0)]
    p_values = [mcnemar(int(one), int(other)) for one, other in zip(*only, strict=True)]
    labels = tuple(
        LabelComparison(name, ours.support, ours.f1, theirs.f1, difference, int(wins), int(losses), p, adjusted)
        for name, ours, theirs, difference, wins, losses, p, adjusted in zip(
            names, each[0].labels, each[1].labels, differences, *only, p_values, holm(p_values), strict=True
        )
    )
    scores: dict[str, tuple[float, float, Difference] | None] = {}
    for metric in COMPARED:
        ours, theirs = (getattr(one, metric) for one in each)
        known = ours is not None and theirs is not None
        scores[metric] = (ours, theirs, _difference(metric, a, b, targets)) if known else None
    seeds = tuple(run.name for run in (first, second) if has_seeds(run.metrics))
    return Comparison(first.name, second.name, len(targets), scores, labels, seeds)


def paired(first: Run, second: Run) -> Difference:
    """Micro-F1 on the test rows, first run minus second, with a 95% interval by a paired bootstrap.

    Raises:
        RunError: the runs were scored on different rows.
    """
    targets, (a, b) = _same_rows(first, second)
    return _difference("micro_f1", a, b, targets)


def mcnemar(only_first: int, only_second: int) -> float:
    """Probability of rows that are at least as one-sided if neither run were better: exact, two-sided (McNemar 1947).

    Args:
        only_first: rows that the first has right and the second wrong.
        only_second: the other way round.
    """
    from scipy.stats import binomtest

    rows = only_first + only_second
    return 1.0 if rows == 0 else float(binomtest(only_first, rows).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm 1979, "A simple sequentially rejective multiple test procedure": p-values adjusted for their number."""
    order = np.argsort(p_values)
    found, least = np.ones(len(p_values)), 0.0
    for rank, place in enumerate(order.tolist()):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        found[place] = least
    return [float(value) for value in found]


def _difference(metric: MetricName, a: _Said, b: _Said, targets: NDArray[np.bool_]) -> Difference:
    return paired_difference(
        a.probabilities,
        a.thresholds,
        b.probabilities,
        b.thresholds,
        targets,
        metric,
        replicates=REPLICATES,
        seed=SEED,
        empty_rows=(a.empty_rows, b.empty_rows),
    )


def _same_rows(first: Run, second: Run) -> tuple[NDArray[np.bool_], tuple[_Said, _Said]]:
    """(rows, labels) truth of the test rows, and what either run says of them, in the first one's order."""
    for run in (first, second):
        if run.metrics["split"]["method"] == "cross-validation" and run.config.thresholds != "fixed":
            raise RunError(f"{run.name} is a cross-validation with thresholds of each fold", "Compare means instead")
    if (first.metrics["split"]["digest"], first.metrics["truth"]) != (
        second.metrics["split"]["digest"],
        second.metrics["truth"],
    ):
        raise RunError(f"{first.name} and {second.name} were scored on different rows", "Compare runs of one split")
    ours, theirs = first.predictions(), second.predictions()
    test = ours.of_role("test")
    place = {name: row for row, name in enumerate(theirs.ids)}
    same = [place[ours.ids[row]] for row in test]
    said = []
    for run, probabilities in ((first, ours.probabilities[test]), (second, theirs.probabilities[same])):
        said.append(_Said(probabilities, run.thresholds(), run.config.empty_rows))
    return ours.targets[test], (said[0], said[1])
