"""Stage two: choose streams, train a head or fusion on the training rows, score it on rows that nothing has seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clipfuse.check_config import kind_of
from clipfuse.data.split import Split
from clipfuse.errors import ConfigError
from clipfuse.finish import finish, refinish
from clipfuse.initial import check_unseen, initial_states
from clipfuse.inputs import Progress, no_progress
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.prepare import prepare
from clipfuse.pseudo_labels import Unlabelled, read_unlabelled, train_in_rounds
from clipfuse.remembered_rows import LoadRows
from clipfuse.repeats import describe_repeats, repeat_entry, train_seeds
from clipfuse.run import Run, new_run
from clipfuse.run_content import Outcome
from clipfuse.run_metrics import measure
from clipfuse.run_predictions import kept_predictions
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, Trained, train_jobs
from clipfuse_cache import FeatureCache, Samples


def train_head(
    cache: FeatureCache,
    samples: Samples,
    split: Split,
    config: TrainConfig,
    *,
    runs: Path,
    device: str = "cpu",
    progress: Progress = no_progress,
    initial: Run | None = None,
    unlabelled: FeatureCache | None = None,
    seeds: int = 1,
    load: LoadRows = load_rows,
) -> Run:
    """Train one head, fusion or ensemble and keep it as a run under ``runs``.

    Training rows train (and fit the scalers); validation rows choose the epoch, the calibration and the thresholds;
    test rows are scored once, at the end. With ``refit = "all"`` the kept model is trained once more on every row with
    the choices made; the scores stay those of the model that had not seen the test rows.

    Args:
        cache: features of ``samples``.
        samples: with labels.
        split: which of them do what.
        config: every setting.
        runs: folder of runs.
        device: "cpu" or a GPU.
        progress: called as work goes on.
        initial: an earlier run of the same architecture, whose weights and scalers the training starts from.
        unlabelled: features of further rows, which are trained on with the labels that a model gives them.
        seeds: fresh models are trained with so many seeds, the settings' and those after it: the first is kept, and
            mean and standard deviation of all are reported.
        load: reads the rows; several trainings may share what it reads.

    Raises:
        ConfigError: a fusion that the cache has no streams for, settings that do not go together, or an earlier run
            that is another model or has seen the rows that are to be scored.
        TrainingError: the training diverged.
        DataError, CacheError: features of other pictures or captions than ``samples`` has, or damaged ones.
        DiskFull, RunError: the run could not be written; nothing of it stays.
    """
    if seeds > 1 and initial is not None:
        raise ConfigError("seeds are compared from fresh weights", "Leave out --seeds or --from")
    if seeds > 1 and unlabelled is not None:
        raise ConfigError("pseudo-labels are trained with one seed", "Leave out --seeds or --unlabelled")
    made = prepare(cache, samples, split, config, device, load)
    config, rows, labels = made.config, made.rows, made.labels
    job, seen, origin = Job(config, rows.index), frozenset[str](), None
    if initial is not None:
        seen, origin = check_unseen(initial, split), initial.name
        states = initial_states(initial, config, made.about.streams, made.tables.own, labels)
        job = Job(config, rows.index, initial=states)
    like = config.pseudo_labels.similarity
    pool = None if unlabelled is None else read_unlabelled(unlabelled, made.tables, samples, split, device, like)
    with new_run(runs, kind_of(config)) as folder:
        started = made.describe(origin)
        trained, rows, train, rounds = _train(job, rows, pool, progress)
        finished = finish(config, trained.predictor, rows)
        said = rows.ask_all(finished.predictor)
        metrics = {**started, **measure(config, trained, finished, rows, said, labels), **rounds}
        if seeds > 1:
            first = repeat_entry(config, trained, metrics["scores"]["test"]["scores"])
            metrics["repeats"] = describe_repeats([first, *train_seeds(job, rows, seeds, labels, progress)])
        predictions = kept_predictions(said, rows, trained.fitted)
        predictor = finished.predictor
        if config.refit == "all":
            refitted = _refit(job, rows, train, trained, progress)
            predictor = refinish(config, refitted.predictor, finished.calibration)
            metrics["seconds"]["refit"] = refitted.seconds
        seen |= set(pool.ids) if pool is not None and len(train) > len(rows.index["train"]) else set()
        elsewhere = seen - set(rows.ids)
        found = Outcome(predictor, finished.thresholds, predictions, metrics, trained.history, elsewhere)
        return made.keep(folder, found)


def train(
    config: TrainConfig,
    rows: LabelledRows,
    roles: Mapping[str, torch.Tensor],
    progress: Progress,
    epochs: Mapping[str, int] | None = None,
) -> Trained:
    """Train one model, or an ensemble, on the rows that ``roles`` calls train; those called validation choose epochs.

    Args:
        config: every setting.
        rows: features and labels.
        roles: "train" and, where there are such, "validation" -> rising positions in ``rows``.
        progress: called as work goes on.
        epochs: part -> how many, where that is known; the settings' otherwise.
    """
    return train_jobs([Job(config, roles, epochs or {})], rows.rows, progress)[0]


def _train(
    job: Job, rows: LabelledRows, unlabelled: Unlabelled | None, progress: Progress
) -> tuple[Trained, LabelledRows, torch.Tensor, dict[str, Any]]:
    """The model, the rows and positions that it was trained on, and what is told of rounds with pseudo-labels."""
    if unlabelled is None:
        return train_jobs([job], rows.rows, progress)[0], rows, rows.index["train"], {}
    found = train_in_rounds(job, rows, unlabelled, progress)
    about = {
        "cache": unlabelled.cache,
        "rows": len(unlabelled.ids),
        "left_out": dict(unlabelled.left_out),
        "rounds": found.history,
        "best_round": found.best_round,
    }
    train = torch.cat([rows.index["train"], found.labelled])
    return found.trained, found.rows, train, {"pseudo_labels": about}


def _refit(job: Job, rows: LabelledRows, train: torch.Tensor, trained: Trained, progress: Progress) -> Trained:
    """The same on every labelled row (and those that were labelled by a model), for as many epochs."""
    labelled = torch.arange(len(rows.ids), device=train.device)
    everything = torch.cat([labelled, train[len(rows.index["train"]) :]])
    again = Job(job.config, {"train": everything}, trained.best_epochs, job.initial)
    return train_jobs([again], rows.rows, progress)[0]
