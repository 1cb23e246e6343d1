"""How good a way to train is, on every row: k folds, each tested by a fresh model that has not seen it.

All models of a cross-validation are one run: ``bench`` shows the mean over them with their standard deviation, and
the single scores are in its metrics. One run a fold would flood the folder, and none of them would be what is meant.
Kept is what a model that had not seen the row says of each row. No model is kept, for none of them is the one that one
would use; with ``refit = "all"`` that one is trained, on all rows.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.check_config import kind_of
from clipfuse.data.split import ROLES, Split
from clipfuse.errors import ConfigError
from clipfuse.finish import Finished, finish, fit_decision, refinish
from clipfuse.inputs import Progress, no_progress
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.metrics import evaluate
from clipfuse.predictions import Predictions
from clipfuse.prepare import Prepared, prepare
from clipfuse.remembered_rows import LoadRows
from clipfuse.repeats import describe_repeats, mean_scores, median_epochs, repeat_config, repeat_entry
from clipfuse.run import Run, new_run
from clipfuse.run_content import Outcome
from clipfuse.run_metrics import ask_modalities, time_rows, with_all_modalities
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, Trained, train_jobs
from clipfuse.trivial import THRESHOLD, trivial_rows
from clipfuse_cache import FeatureCache, Samples

METHOD = "cross-validation"


@dataclass(frozen=True)
class _Fold:
    """A fold's model, the settings with its seed, its rows, what it says of its test rows, (rows, labels), before and
    after calibration, and their scores; modality -> those of the same rows with it alone."""

    config: TrainConfig
    trained: Trained
    finished: Finished
    rows: LabelledRows
    before: NDArray[np.float64]
    said: NDArray[np.float64]
    scores: dict[str, Any]
    alone: dict[str, dict[str, Any]]


def cross_validate(
    cache: FeatureCache,
    samples: Samples,
    deals: Sequence[Sequence[Split]],
    config: TrainConfig,
    *,
    runs: Path,
    device: str = "cpu",
    progress: Progress = no_progress,
    load: LoadRows = load_rows,
) -> Run:
    """Train a fresh model for each fold of each deal, all with seeds of their own, and keep it all as one run.

    Each model's epochs, calibration and thresholds are chosen by its fold's validation rows. With ``refit = "all"`` one
    model is trained on all rows and kept: for the median of the epochs, with calibration and thresholds fitted to what
    the first deal's models say of the rows that they have not seen.

    Args:
        cache: features of ``samples``.
        samples: with labels.
        deals: splits whose test rows are all rows, each once; several deals, as ``find_cross_validation`` makes them
            with different seeds, are repeats.
        config: every setting.
        runs: folder of runs.
        device: "cpu" or a GPU.
        progress: called as work goes on.
        load: reads the rows; several trainings may share what it reads.

    Raises:
        As ``train_head``.
    """
    made = prepare(cache, samples, deals[0][0], config, device, load)
    config, rows, labels = made.config, made.rows, made.labels
    with new_run(runs, f"{kind_of(config)}-cv") as folder:
        started = made.describe(folds=deals[0])
        folds = [fold for n, deal in enumerate(deals) for fold in _train_deal(made, deal, n * len(deals[0]), progress)]
        first = folds[: len(deals[0])]
        out_of_fold, uncalibrated, fold_of = _out_of_fold(first, len(rows.ids), len(labels))
        everything = replace(rows, index=_all_test(rows))
        truth = everything.truth(everything.index["test"])
        metrics = {**started, **_measure(config, folds, deals, everything, labels)}
        calibration, thresholds = fit_decision(config, uncalibrated, truth)
        predictor = None
        if config.refit == "all":
            job = Job(config, {"train": everything.index["test"]}, metrics["best_epochs"])
            (refitted,) = train_jobs([job], rows.rows, progress)
            predictor = refinish(config, refitted.predictor, calibration)
            metrics["seconds"]["refit"] = refitted.seconds
        history = [{"repeat": n, **record} for n, fold in enumerate(folds, 1) for record in fold.trained.history]
        predictions = _predictions(rows.ids, truth, out_of_fold, fold_of)
        return made.keep(folder, Outcome(predictor, thresholds, predictions, metrics, history))


def _measure(
    config: TrainConfig,
    folds: Sequence[_Fold],
    deals: Sequence[Sequence[Split]],
    everything: LabelledRows,
    labels: list[str],
) -> dict[str, Any]:
    """Means over the folds' models, and what each of them scored. ``everything``: all rows, as test rows."""
    first = folds[: len(deals[0])]
    scores = {"scores": mean_scores([fold.scores for fold in folds], len(deals)), "intervals": {}}
    per_deal = len(deals[0])
    entries = [repeat_entry(fold.config, fold.trained, fold.scores, n % per_deal + 1) for n, fold in enumerate(folds)]
    return {
        "split": _split(deals),
        "rows": {**{role: len(first[0].rows.index[role]) for role in ROLES}, "test": len(everything.ids)},
        "truth": everything.truth_digest(labels),
        "missing": everything.missing(),
        "scores": {"test": scores},
        "trivial": _trivial(first, labels),
        "thresholds": config.thresholds,
        "best_epochs": median_epochs([fold.trained for fold in folds]),
        "seconds": {"train": statistics.mean(fold.trained.seconds for fold in folds)},
        "prediction": time_rows(folds[0].finished.predictor, everything, everything.index["test"]),
        "parameters": folds[0].finished.predictor.parameters,
        "refit": config.refit,
        "modalities": with_all_modalities(_alone(folds, len(deals)), scores),
        "repeats": describe_repeats(entries),
    }


def _alone(folds: Sequence[_Fold], times: int) -> dict[str, dict[str, Any]]:
    """Modality -> the mean of the folds' scores with it alone."""
    return {
        name: {"scores": mean_scores([fold.alone[name] for fold in folds], times), "intervals": {}}
        for name in folds[0].alone
    }


def _train_deal(made: Prepared, deal: Sequence[Split], done: int, progress: Progress) -> list[_Fold]:
    """The models of one deal, side by side where that is faster; ``done``: how many were trained before."""
    config, rows, labels = made.config, made.rows, made.labels
    if {name for split in deal for name in split.roles["test"]} != set(rows.ids):
        raise ConfigError(f"the test rows of {deal[0].name} and its like are not all rows, each once")
    of_fold = [replace(rows, index=_positions(rows, split)) for split in deal]
    jobs = [
        Job(repeat_config(config, done + n), own.index, name=f"fold {n + 1} of {len(deal)}, ")
        for n, own in enumerate(of_fold)
    ]
    found = []
    for job, own, trained in zip(jobs, of_fold, train_jobs(jobs, rows.rows, progress), strict=True):
        finished = finish(job.config, trained.predictor, own)
        before = own.ask(finished.uncalibrated, own.index["test"])
        said = finished.calibrated(before)
        truth = own.truth(own.index["test"])
        scores = finished.evaluate(said, truth, labels).to_dict()
        alone = {
            name: finished.evaluate(one, truth, labels).to_dict() for name, one in ask_modalities(finished, own).items()
        }
        found.append(_Fold(job.config, trained, finished, own, before, said, scores, alone))
    return found


def _positions(rows: LabelledRows, split: Split) -> dict[str, torch.Tensor]:
    place = {name: row for row, name in enumerate(rows.ids)}
    device = rows.rows.targets.device
    return {role: torch.tensor(sorted(place[name] for name in split.roles[role]), device=device) for role in ROLES}


def _all_test(rows: LabelledRows) -> dict[str, torch.Tensor]:
    everything = torch.arange(len(rows.ids), device=rows.rows.targets.device)
    return {"train": everything[:0], "validation": everything[:0], "test": everything}


def _out_of_fold(
    folds: Sequence[_Fold], rows: int, labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16]]:
    """What is said of each row by the model that has not seen it, before calibration, and the number of its fold."""
    said, before = np.zeros((2, rows, labels))
    fold_of = np.full(rows, -1, dtype=np.int16)
    for number, fold in enumerate(folds):
        here = fold.rows.index["test"].cpu().numpy()
        said[here], before[here] = fold.said, fold.before
        fold_of[here] = number
    return said, before, fold_of


def _predictions(
    ids: tuple[str, ...], truth: NDArray[np.bool_], said: NDArray[np.float64], fold_of: NDArray[np.int16]
) -> Predictions:
    roles = np.full(len(ids), ROLES.index("test"), dtype=np.uint8)
    nothing = np.zeros((len(ids), 0, truth.shape[1]), dtype=np.float32)
    return Predictions(ids, roles, truth, said.astype(np.float32), fold_of, (), nothing)


def _trivial(folds: Sequence[_Fold], labels: list[str]) -> list[dict[str, Any]]:
    """Each trivial row fitted on each fold's training rows: the mean of their scores. ``row`` is the first fold's."""
    fitted = [trivial_rows(fold.rows.truth(fold.rows.index["train"]), labels) for fold in folds]
    found = []
    for same in zip(*fitted, strict=True):
        scores = []
        for fold, row in zip(folds, same, strict=True):
            truth = fold.rows.truth(fold.rows.index["test"])
            scores.append(evaluate(row.predict(len(truth)), truth, THRESHOLD, labels).to_dict())
        row = {"name": same[0].name, "row": asdict(same[0]), "scores": mean_scores(scores), "intervals": {}}
        found.append(row)
    return found


def _split(deals: Sequence[Sequence[Split]]) -> Mapping[str, Any]:
    digests = json.dumps([[split.digest for split in deal] for deal in deals]).encode()
    name = deals[0][0].name.removesuffix(f"-1-of-{len(deals[0])}")
    return {
        "name": name if len(deals) == 1 else f"{name} and {len(deals) - 1} more",
        "method": METHOD,
        "digest": hashlib.sha256(digests).hexdigest(),
        "seed": deals[0][0].seed,
    }
