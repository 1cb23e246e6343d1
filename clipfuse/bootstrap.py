"""How far a score would move with other rows: percentile bootstrap intervals (Efron & Tibshirani 1993, ch. 13).

A replicate draws as many rows as there are, with replacement. Drawing rows is the same as giving each row an integer
weight (how often it was drawn), and every score here is a function of weighted sums over rows. So a block of replicates
costs one matrix product for the F1 scores and accuracies, and for AP one pass over each label's rows, sorted once.

An interval speaks of the rows drawn only. It does not know of other seeds of training, or of other splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.choose import EmptyRows, choose
from clipfuse.metrics import METRICS, MetricName, checked, ratio

_LEVELS = (0.025, 0.975)
_BLOCK_BYTES = 96_000_000  # for one block of replicates
_BYTES_A_CELL = 24  # one row in one replicate: draws and weights (int32, twice, and float64), one sorted copy
_WIDEST_BLOCK = 256  # replicates; wider blocks fall out of the processor's caches


@dataclass(frozen=True, slots=True)
class Interval:
    """A score on all rows, and the 2.5% and 97.5% points of its bootstrap replicates."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of a minus score of b: on all rows, the replicates' mean, and their 2.5% and 97.5% points."""

    observed: float
    mean: float
    low: float
    high: float


def bootstrap_intervals(
    probabilities: ArrayLike,
    targets: ArrayLike,
    thresholds: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int,
    metrics: Sequence[MetricName] = METRICS,
    empty_rows: EmptyRows = "nothing",
) -> dict[str, Interval]:
    """95% intervals of the scores of :func:`clipfuse.metrics.evaluate`, by resampling rows.

    Bias-corrected percentiles (Efron 1981, "Nonparametric standard errors and confidence intervals").

    A label without a positive row in a replicate is left out of that replicate's mAP; a replicate where no label has
    one is left out of the interval of mAP. Where no label has a positive row at all, mAP is not in the answer.

    Args:
        probabilities: (rows, labels) float, each within [0, 1].
        targets: (rows, labels) bool.
        thresholds: one float, or (labels,) floats.
        replicates: how many times rows are drawn.
        seed: the same seed gives the same intervals.
        metrics: names out of :data:`clipfuse.metrics.METRICS`; without mAP the call is several times faster.
        empty_rows: as in :func:`clipfuse.metrics.evaluate`.

    Raises:
        ValueError: as :func:`clipfuse.metrics.evaluate`; an unknown metric; fewer than one replicate.
    """
    scorer = _Scorer(probabilities, targets, thresholds, metrics, empty_rows)
    draws = [scorer(weights) for weights in _weight_blocks(scorer.rows, replicates, seed)]
    whole = scorer(np.ones((scorer.rows, 1), dtype=np.int32))
    intervals = {}
    for name in metrics:
        value = float(whole[name][0])
        if not np.isnan(value):
            low, high = _bias_corrected(np.concatenate([draw[name] for draw in draws]), value)
            intervals[str(name)] = Interval(value, float(low), float(high))
    return intervals


def _bias_corrected(draws: NDArray[np.float64], value: float) -> tuple[float, float]:
    """The draws' percentiles, moved by how far their middle is from the value.

    Rows that are drawn twice raise the average precision of rare labels, so that plain percentiles of mAP lie too high.
    """
    draws = draws[~np.isnan(draws)]
    equal = np.isclose(draws, value, rtol=0, atol=1e-12)
    below = (np.sum((draws < value) & ~equal) + np.sum(equal) / 2) / len(draws)
    normal = NormalDist()
    shift = 2 * normal.inv_cdf(min(max(below, 1 / (len(draws) + 1)), 1 - 1 / (len(draws) + 1)))
    levels = [normal.cdf(shift + normal.inv_cdf(level)) for level in _LEVELS]
    low, high = np.quantile(draws, levels)
    return float(low), float(high)


def paired_difference(
    probabilities_a: ArrayLike,
    thresholds_a: ArrayLike,
    probabilities_b: ArrayLike,
    thresholds_b: ArrayLike,
    targets: ArrayLike,
    metric: MetricName = "micro_f1",
    *,
    replicates: int = 1000,
    seed: int,
    empty_rows: tuple[EmptyRows, EmptyRows] = ("nothing", "nothing"),
) -> Difference:
    """The score of model a minus that of model b, both scored on the same drawn rows in each replicate.

    Shapes as in :func:`bootstrap_intervals`; ``empty_rows``: a's and b's. An interval that holds 0 means that these
    rows don't tell them apart.

    Raises:
        ValueError: as :func:`bootstrap_intervals`; mAP where no label has a positive row.
    """
    a = _Scorer(probabilities_a, targets, thresholds_a, (metric,), empty_rows[0])
    b = _Scorer(probabilities_b, targets, thresholds_b, (metric,), empty_rows[1])
    ones = np.ones((a.rows, 1), dtype=np.int32)
    observed = float((a(ones)[metric] - b(ones)[metric])[0])
    if np.isnan(observed):
        raise ValueError(f"{metric} has no value: no label has a positive row")
    blocks = _weight_blocks(a.rows, replicates, seed)
    values = np.concatenate([a(weights)[metric] - b(weights)[metric] for weights in blocks])
    low, high = np.nanquantile(values, _LEVELS)
    return Difference(observed, float(np.nanmean(values)), float(low), float(high))


def label_differences(
    chosen_a: NDArray[np.bool_],
    chosen_b: NDArray[np.bool_],
    targets: NDArray[np.bool_],
    *,
    replicates: int = 1000,
    seed: int,
) -> list[Difference]:
    """The F1 of each label, model a minus model b, both on the same drawn rows in each replicate.

    Args:
        chosen_a, chosen_b: (rows, labels) what either model chooses.
        targets: (rows, labels).
        replicates: how many times rows are drawn.
        seed: the same seed gives the same intervals, and the draws of :func:`paired_difference`.
    """
    columns = [
        ((chosen & targets).astype(np.float64).T, (chosen.astype(np.float64) + targets).T)
        for chosen in (chosen_a, chosen_b)
    ]

    def differences(weights: NDArray[Any]) -> NDArray[np.float64]:
        first, second = (ratio(2 * (hits @ weights), cells @ weights) for hits, cells in columns)
        return np.asarray(first - second)

    observed = differences(np.ones((len(targets), 1)))[:, 0]
    draws = np.concatenate(
        [differences(weights.astype(np.float64)) for weights in _weight_blocks(len(targets), replicates, seed)], axis=1
    )
    lows, highs = np.quantile(draws, _LEVELS, axis=1)
    each = zip(observed, draws.mean(1), lows, highs, strict=True)
    return [Difference(*map(float, values)) for values in each]


def draw_weights(rows: int, replicates: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each row was drawn in each replicate, (rows, replicates) int32; every column sums to ``rows``."""
    weights = np.empty((replicates, rows), dtype=np.int32)
    for replicate in weights:
        replicate[:] = np.bincount(rng.integers(0, rows, size=rows), minlength=rows)
    return np.ascontiguousarray(weights.T)


def weighted_scores(
    probabilities: ArrayLike,
    targets: ArrayLike,
    thresholds: ArrayLike,
    weights: NDArray[np.int32],
    metrics: Sequence[MetricName] = METRICS,
    empty_rows: EmptyRows = "nothing",
) -> dict[str, NDArray[np.float64]]:
    """Each metric, (replicates,) float64, row ``i`` counting ``weights[i, replicate]`` times; nan for mAP of no label.

    ``weights`` is (rows, replicates), whole numbers, each column's sum above 0. Errors as :func:`bootstrap_intervals`.
    """
    return _Scorer(probabilities, targets, thresholds, metrics, empty_rows)(
        np.ascontiguousarray(weights, dtype=np.int32)
    )


def _weight_blocks(rows: int, replicates: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """Blocks of replicates that bound the memory. The draws don't depend on the blocks' width."""
    if replicates < 1:
        raise ValueError(f"replicates should be at least 1, not {replicates}")
    rng = np.random.default_rng(seed)
    width = max(1, min(_WIDEST_BLOCK, _BLOCK_BYTES // (_BYTES_A_CELL * rows)))
    for start in range(0, replicates, width):
        yield draw_weights(rows, min(width, replicates - start), rng)


class _Scorer:
    """One model's predictions on some rows, prepared: call it with weights (rows, replicates)."""

    def __init__(
        self,
        probabilities: ArrayLike,
        targets: ArrayLike,
        thresholds: ArrayLike,
        metrics: Sequence[MetricName],
        empty_rows: EmptyRows,
    ) -> None:
        unknown = [name for name in metrics if name not in METRICS]
        if unknown or not metrics:
            raise ValueError(f"metrics should be among {', '.join(METRICS)}; not {', '.join(unknown) or 'none'}")
        probabilities, targets = checked(probabilities, targets)
        self.rows, self._labels = targets.shape
        self._metrics = tuple(metrics)
        predicted = choose(probabilities, thresholds, empty_rows=empty_rows)
        hits = predicted & targets
        cells = predicted.astype(np.int64) + targets
        right = predicted == targets
        self._columns = np.column_stack(
            [
                hits,
                cells,
                targets,
                ratio(2 * hits.sum(axis=1), cells.sum(axis=1)),
                right.all(axis=1),
                right.mean(axis=1),
            ]
        ).astype(np.float64)
        self._rankings: list[_Ranking] = []
        if "mean_average_precision" in metrics:
            for label in np.flatnonzero(targets.any(axis=0)):
                self._rankings.append(_Ranking(probabilities[:, label], targets[:, label]))

    def __call__(self, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        drawn = weights.sum(axis=0)
        # Sums of whole numbers below 2**53: exact in float64.
        sums = (self._columns.T @ weights.astype(np.float64)).T
        tp, cells, support = (sums[:, i * self._labels : (i + 1) * self._labels] for i in range(3))
        row_f1, subset, right = (sums[:, 3 * self._labels + i] / drawn for i in range(3))
        label_f1 = ratio(2 * tp, cells)
        scores: dict[MetricName, Callable[[], NDArray[np.float64]]] = {
            "micro_f1": lambda: ratio(2 * tp.sum(axis=1), cells.sum(axis=1)),
            "macro_f1": lambda: np.asarray(label_f1.mean(axis=1)),
            "samples_f1": lambda: row_f1,
            "weighted_f1": lambda: ratio((label_f1 * support).sum(axis=1), support.sum(axis=1)),
            "mean_average_precision": lambda: self._mean_average_precision(weights),
            "subset_accuracy": lambda: subset,
            "label_accuracy": lambda: right,
        }
        return {name: scores[name]() for name in self._metrics}

    def _mean_average_precision(self, weights: NDArray[np.int32]) -> NDArray[np.float64]:
        total = np.zeros(weights.shape[1])
        labels = np.zeros(weights.shape[1])
        for ranking in self._rankings:
            value, has_positives = ranking.average_precision(weights)
            total += value
            labels += has_positives
        return np.where(labels > 0, total / np.maximum(labels, 1), np.nan)


class _Ranking:
    """One label's rows from the highest probability down, cut after each tie group that holds a positive row."""

    def __init__(self, probabilities: NDArray[np.float64], targets: NDArray[np.bool_]) -> None:
        order = np.argsort(-probabilities, kind="stable")
        scores, truth = probabilities[order], targets[order]
        group = np.concatenate([[0], np.cumsum(scores[1:] != scores[:-1])])
        positive_groups, self._positive_starts = np.unique(group[truth], return_index=True)
        ends = np.searchsorted(group, positive_groups, side="right")
        self._order = order[: ends[-1]]
        self._starts = np.concatenate([[0], ends[:-1]])
        self._positive_rows = order[truth]

    def average_precision(self, weights: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """AP in each replicate, 0 where no positive row was drawn, and whether one was, both (replicates,)."""
        above = np.add.reduceat(weights[self._order], self._starts, axis=0)
        np.cumsum(above, axis=0, out=above)
        gain = np.add.reduceat(weights[self._positive_rows], self._positive_starts, axis=0)
        tp = np.cumsum(gain, axis=0, dtype=np.float64)
        positives = tp[-1].copy()
        tp *= gain
        tp /= np.maximum(above, 1)  # nothing drawn so far: tp is 0 too
        return tp.sum(axis=0) / np.maximum(positives, 1), positives > 0
