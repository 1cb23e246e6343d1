"""Stage two: choose streams, train a head or fusion on the training rows, score it on rows that nothing has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from clipfuse.baselines import BASELINES
from clipfuse.data.split import Split
from clipfuse.ensembles import check_ensemble
from clipfuse.errors import ConfigError, DataError
from clipfuse.finish import finish, refinish
from clipfuse.fusions import SINGLE, STACKED
from clipfuse.initial import check_unseen, initial_states
from clipfuse.inputs import Progress, no_progress
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.leaks import find_leaks
from clipfuse.machine import describe_machine, device_name
from clipfuse.modality import input_word
from clipfuse.models import check_models, heads_of
from clipfuse.peak_memory import PeakMemory
from clipfuse.pseudo_labels import Unlabelled, read_unlabelled, train_in_rounds
from clipfuse.recipes import recipe_kind
from clipfuse.remembered_rows import LoadRows
from clipfuse.repeats import describe_repeats, repeat_entry, train_seeds
from clipfuse.run import Run, new_run, write_run
from clipfuse.run_metrics import measure
from clipfuse.run_predictions import kept_predictions
from clipfuse.select_streams import check_inputs, select_streams
from clipfuse.stage_one import stage_one
from clipfuse.stream_tables import StreamTables
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, Trained, train_jobs
from clipfuse.zero_shot import find_label_vectors
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.atomic import write_bytes

JOINED = (*SINGLE, "concat")
"""Fusions that an estimator can take: one array of features."""


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
    check_config(config)
    config = config.resolved()
    if seeds > 1 and initial is not None:
        raise ConfigError("seeds are compared from fresh weights", "Leave out --seeds or --from")
    if seeds > 1 and unlabelled is not None:
        raise ConfigError("pseudo-labels are trained with one seed", "Leave out --seeds or --unlabelled")
    tables = select_streams(cache, config)
    check_inputs(tables, samples)
    vectors = find_label_vectors(config, tables, samples.label_names)
    peak = PeakMemory.start(device)
    rows = load(tables, samples, split, device, vectors, memory_gb=config.memory_gb)
    check_rows(rows)
    labels = list(samples.label_names)
    streams = {name: table.description for name, table in tables.items()}
    job, seen, origin = Job(config, rows.index), frozenset[str](), None
    if initial is not None:
        seen, origin = check_unseen(initial, split), initial.name
        job = Job(config, rows.index, initial=initial_states(initial, config, streams, tables.own, labels))
    pool = None if unlabelled is None else read_unlabelled(unlabelled, tables, samples, split, device)
    with new_run(runs, kind_of(config)) as folder:
        started = describe_run(config, cache, samples, tables, split, device, origin)
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
        metrics["peak_memory"] = peak.stop().to_dict()
        history = "".join(json.dumps(record) + "\n" for record in trained.history)
        write_bytes(folder / "history.jsonl", history.encode())
        seen |= set(pool.ids) if pool is not None and len(train) > len(rows.index["train"]) else set()
        return write_run(
            folder,
            config,
            streams,
            labels,
            samples.layout,
            predictor,
            finished.thresholds,
            predictions,
            describe_machine(device),
            metrics,
            seen - set(rows.ids),
            views=tables.view_descriptions(),
            own=tables.own,
        )


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


def check_config(config: TrainConfig) -> None:
    """Make sure that settings go together.

    Raises:
        UnknownName, ConfigError: no such head, fusion, loss or recipe, or settings that it does not have.
    """
    kind_of(config)
    check_models(config)
    check_ensemble(config)
    if config.stacking.method == "validation" and config.fusion.kind in STACKED:
        if config.refit == "all":
            raise ConfigError(
                "after a refit on all rows none are left that a combiner could learn from: stacking validation",
                "Choose --stacking out-of-fold, or leave out --refit",
            )
        if config.thresholds != "fixed" or config.calibration != "none":
            raise ConfigError(
                "the validation rows train the combiner (stacking validation): they can't choose thresholds or"
                " calibration",
                "Choose --stacking out-of-fold, or leave thresholds and calibration as they are",
            )
    estimators = {name: head.kind for name, head in heads_of(config).items() if head.kind in BASELINES}
    if estimators:
        _check_estimators(config, estimators)
    if config.features != "embeddings":
        _check_words(config)


def _check_words(config: TrainConfig) -> None:
    """Make sure that only estimators read words, and that there is one that does."""
    reading = {name: head for name, head in heads_of(config).items() if name not in SINGLE or name == "text"}
    for name, head in reading.items():
        if name != "text":
            raise ConfigError(
                f"fusion {name} reads embeddings of captions, not their words (features {config.features})",
                "Choose --fusion text, or sum, or leave out --features",
            )
        if head.kind not in BASELINES:
            option = "--head" if config.fusion.kind == "text" else "--set parts.text.head.kind="
            raise ConfigError(
                f"head {head.kind} reads embeddings of captions, not their words (features {config.features})",
                f"Choose one of scikit-learn's: {option}{'' if option.endswith('=') else ' '}multinomial-nb",
            )
    if not reading:
        raise ConfigError(
            f"fusion {config.fusion.kind} reads no captions, so features {config.features} does nothing",
            "Leave it out, or choose --fusion text",
        )


def _check_estimators(config: TrainConfig, estimators: Mapping[str, str]) -> None:
    """Make sure that nothing is asked of scikit-learn's estimators that needs training in steps. ``estimators``: fusion
    -> kind."""
    fusion, head = next(iter(estimators.items()))
    for name, kind in estimators.items():
        if name not in JOINED:
            raise ConfigError(
                f"head {kind} reads one array of features, fusion {name} has layers of its own",
                f"Choose --fusion {', '.join(JOINED)}, or one that is stacked of these: {', '.join(STACKED)}",
            )
    if config.fusion.kind in STACKED and config.stacking.method == "joint":
        raise ConfigError(
            f"head {head} is not trained in steps, so nothing can be trained jointly with it",
            "Choose --stacking out-of-fold",
        )
    if config.ensemble.kind == "snapshots":
        raise ConfigError(f"head {head} is not trained in steps: there are no snapshots", "Choose --ensemble seeds:5")
    if config.storage != "float32" and fusion == config.fusion.kind:
        raise ConfigError(f"head {head} is kept as scikit-learn made it", "Leave out --storage")
    if (config.image.views or config.text.views) and not config.average_views:
        raise ConfigError(
            f"head {head} draws no views: it is not trained by epochs",
            "Leave the views out, or average over them: --average-views",
        )


def kind_of(config: TrainConfig) -> str:
    """What a run is called: its recipe; otherwise its fusion (or what it counts of captions), with the
    estimator in front where it is one."""
    recipe = recipe_kind(config)
    if recipe is not None:
        return recipe
    read = config.fusion.kind
    if config.features != "embeddings":
        read = config.features if read == "text" else f"{read}-{config.features}"
    return f"{config.head.kind}-{read}" if config.head.kind in BASELINES else read


def describe_run(
    config: TrainConfig,
    cache: FeatureCache,
    samples: Samples,
    tables: StreamTables,
    split: Split,
    device: str,
    origin: str | None = None,
) -> dict[str, Any]:
    """What a run's metrics say of what it is about; ``origin``: the name of the run that it starts from."""
    extraction = stage_one(tables.every_table())
    return {
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "kind": kind_of(config),
        "recipe": config.recipe,
        "device": device_name(device),
        "cache": str(cache.root),
        "stage_one": None if extraction is None else extraction.to_dict(),
        "split": {"name": split.name, "method": split.method, "digest": split.digest, "seed": split.seed},
        "leaks": [leak.to_dict() for leak in find_leaks(samples, split)],
        "from": origin,
    }


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


def check_rows(rows: LabelledRows) -> None:
    """Make sure that there is something to learn, from each stream that is read and for each role.

    Raises:
        DataError: no labels.
        ConfigError: no training row has an input, or no row of another role has any of them.
    """
    if rows.rows.targets.shape[1] == 0:
        raise DataError("not one row has a label", "Name their column: clipfuse extract --label-column NAME")
    missing = rows.missing()
    for name, roles in missing.items():
        for role, count in roles.items():
            if count == len(rows.index[role]) and (role == "train" or len(missing) == 1):
                what = input_word(name)
                raise ConfigError(
                    f"not one of the {count} {role} rows has a {what}, so nothing can be said of them",
                    f"Check where clipfuse extract finds the {what}s, or choose another --fusion",
                )
