"""What fresh models, one a fold, say of rows that they have not seen."""

from __future__ import annotations

import numpy as np
import torch

from clipfuse.data.split import ROLES
from clipfuse.data.splits import cross_validation_splits
from clipfuse.doctor.subject import OutOfFold
from clipfuse.duplicates import tables_to_compare
from clipfuse.equal_inputs import connect_equal, picture_keys
from clipfuse.errors import ConfigError
from clipfuse.inputs import Progress, no_progress
from clipfuse.labelled_rows import load_rows
from clipfuse.near_duplicates import connected
from clipfuse.select_streams import check_inputs, select_streams
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, train_jobs
from clipfuse_cache import FeatureCache, Samples

FOLDS = 5
_VALIDATION = 0.1


def default_config(cache: FeatureCache, samples: Samples) -> TrainConfig:
    """A quick model of all that the cache holds features of.

    Raises:
        ConfigError: it holds none that are complete.
    """
    names = {
        modality: tuple(dict.fromkeys(t.description.encoder_name for t in tables_to_compare(cache, samples, modality)))
        for modality in ("image", "text")
    }
    read = [modality for modality, encoders in names.items() if encoders]
    if not read:
        raise ConfigError(f"{cache.root} holds no complete features to train on", "Run clipfuse extract")
    named = {modality: {"encoder": encoders} for modality, encoders in names.items() if len(encoders) > 1}
    kind = "concat" if len(read) > 1 else read[0]
    return TrainConfig.model_validate({"fusion": {"kind": kind}, "head": {"kind": "mlp"}, **named})


def ask_folds(
    cache: FeatureCache,
    samples: Samples,
    config: TrainConfig,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> OutOfFold:
    """Probabilities of every row by a model that was trained on the other folds. Equal pictures share a fold. Nothing
    is written.

    Args:
        cache: features of ``samples``.
        samples: with labels.
        config: of each model.
        folds: how many.
        seed: of the folds.
        device: "cpu" or a GPU.
        progress: called as work goes on.

    Raises:
        ConfigError: no labels, fewer rows than folds, streams that the cache does not have.
        TrainingError: a training diverged.
        DataError, CacheError: features of other inputs than ``samples`` has, or damaged ones.
    """
    if samples.labels is None:
        raise ConfigError("the rows have no labels")
    tables = select_streams(cache, config)
    check_inputs(tables, samples)
    splits = cross_validation_splits(
        samples.ids,
        samples.labels,
        folds,
        name="doctor",
        validation=_VALIDATION,
        seed=seed,
        groups=connected(connect_equal(picture_keys(samples)), len(samples)),
    )
    rows = load_rows(tables, samples, splits[0], device, memory_gb=config.memory_gb)
    place = {name: row for row, name in enumerate(rows.ids)}
    jobs = [
        Job(
            config.model_copy(update={"seed": config.seed + number}),
            {role: torch.tensor(sorted(place[name] for name in split.roles[role]), device=device) for role in ROLES},
            name=f"fold {number + 1} of {folds}, ",
        )
        for number, split in enumerate(splits)
    ]
    said = np.full(samples.labels.shape, np.nan)
    for job, trained in zip(jobs, train_jobs(jobs, rows.rows, progress), strict=True):
        held_out = job.roles["test"]
        ids = [rows.ids[row] for row in held_out.tolist()]
        said[samples.rows(ids)] = rows.ask(trained.predictor, held_out)
    return OutOfFold(said, f"{folds} fresh models ({config.fusion.kind}), one a fold")
