"""One way to train, several times over: other seeds, other folds; mean and standard deviation of every score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median, stdev
from typing import Any

from clipfuse.finish import finish
from clipfuse.inputs import Progress
from clipfuse.labelled_rows import LabelledRows
from clipfuse.metrics import METRICS
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, Trained, train_jobs


def repeat_config(config: TrainConfig, number: int) -> TrainConfig:
    """The settings of a repeat, counted from 0: no two share a seed, nor do the members of their ensembles."""
    members = config.ensemble.size if config.ensemble.kind in ("seeds", "folds") else 1
    return config.model_copy(update={"seed": config.seed + number * members})


def train_seeds(
    job: Job, rows: LabelledRows, count: int, labels: list[str], progress: Progress
) -> list[dict[str, Any]]:
    """Fresh models with the seeds that come after the job's, scored on the same test rows: an entry for each.

    Args:
        job: what is repeated.
        rows: of the split.
        count: how many times, the job itself counted: one less is trained.
        labels: their names.
        progress: called as work goes on.
    """
    jobs = [
        replace(job, config=repeat_config(job.config, n), name=f"seed {n + 1} of {count}, ") for n in range(1, count)
    ]
    found = []
    for again, trained in zip(jobs, train_jobs(jobs, rows.rows, progress), strict=True):
        finished = finish(again.config, trained.predictor, rows)
        said = rows.ask(finished.predictor, rows.index["test"])
        scores = finished.evaluate(said, rows.truth(rows.index["test"]), labels)
        found.append(repeat_entry(again.config, trained, scores.to_dict()))
    return found


def has_seeds(metrics: Mapping[str, Any]) -> bool:
    """Whether a run of these metrics was trained with several seeds on one split: its scores are a mean."""
    repeats = metrics.get("repeats")
    return repeats is not None and repeats["each"][0]["fold"] is None


def repeat_entry(
    config: TrainConfig, trained: Trained, scores: Mapping[str, Any], fold: int | None = None
) -> dict[str, Any]:
    """What is told of one repeat. ``fold`` counts from 1; None where all repeats share one split."""
    return {
        "seed": config.seed,
        "fold": fold,
        "scores": {metric: scores[metric] for metric in METRICS},
        "best_epochs": trained.best_epochs,
        "seconds": trained.seconds,
    }


def describe_repeats(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``{"count", "mean", "deviation", "each"}``: mean and standard deviation (of a sample: over n - 1) of every score.

    Repeats in which a score has no value are left out of its mean; where none has, it is None.
    """
    values = {metric: [one["scores"][metric] for one in each] for metric in METRICS}
    known = {metric: [value for value in found if value is not None] for metric, found in values.items()}
    return {
        "count": len(each),
        "mean": {metric: fmean(found) if found else None for metric, found in known.items()},
        "deviation": {metric: stdev(found) if len(found) > 1 else None for metric, found in known.items()},
        "each": list(each),
    }


def mean_scores(scores: Sequence[Mapping[str, Any]], times: int = 1) -> dict[str, Any]:
    """The mean of several of ``Scores.to_dict()``, label by label; unknown values are left out.

    Counts are summed, and divided by how many ``times`` the rows were scored.
    """

    def mean(values: Sequence[Any]) -> Any:
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    labels = []
    for same in zip(*(one["labels"] for one in scores), strict=True):
        means = {
            key: mean([label[key] for label in same]) for key in ("precision", "recall", "f1", "average_precision")
        }
        labels.append({"name": same[0]["name"], **means, "support": sum(label["support"] for label in same) // times})
    return {
        **{metric: mean([one[metric] for one in scores]) for metric in METRICS},
        "rows": sum(one["rows"] for one in scores) // times,
        "labels_without_positives": sum(label["support"] == 0 for label in labels),
        "labels": labels,
    }


def median_epochs(found: Sequence[Trained]) -> dict[str, int]:
    """Part -> the median of the epochs that validation chose, at least 1."""
    return {name: max(1, round(median(one.best_epochs[name] for one in found))) for name in found[0].best_epochs}
