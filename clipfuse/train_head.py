"""Stage two: choose streams, train a head or fusion on the training rows, score it on rows that nothing has seen."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.baselines import BASELINES, fit_estimator
from clipfuse.config import TrainConfig
from clipfuse.data.splits import Split, folds
from clipfuse.errors import ConfigError
from clipfuse.evaluation import score_rows, score_trivial
from clipfuse.fusions import FUSIONS, StackedFusion
from clipfuse.heads import HEADS
from clipfuse.inputs import Progress, no_progress
from clipfuse.machine import describe_machine, device_name
from clipfuse.models import build_model
from clipfuse.predictor import EstimatorPredictor, Predictor, TorchPredictor
from clipfuse.registry import did_you_mean
from clipfuse.run import ROLES, Predictions, Run, create_folder, write_run
from clipfuse.select_streams import check_inputs, read_streams, select_streams
from clipfuse.stacking import StackedResult, fit_stacked, part_settings
from clipfuse.streams import Streams, fit_scalers, scale
from clipfuse.thresholds import tune_thresholds
from clipfuse.train import EpochRecord, FitResult, fit
from clipfuse.trivial import trivial_rows
from clipfuse_cache import FeatureCache, FeatureTable, Samples
from clipfuse_cache.atomic import write_bytes

JOINED = ("image", "text", "concat")
"""Fusions that an estimator can take: one array of features."""


@dataclass
class _Trained:
    predictor: Predictor
    fits: dict[str, FitResult]
    stacked: StackedResult | None
    history: list[dict[str, Any]]
    seconds: float


@dataclass(frozen=True)
class _Rows:
    """The rows of a split in memory: ``index`` role -> positions in ``ids``, ``streams`` and ``targets``."""

    ids: tuple[str, ...]
    streams: Streams
    targets: torch.Tensor
    index: Mapping[str, torch.Tensor]

    def of(self, role: str) -> tuple[Streams, torch.Tensor]:
        return self.streams.rows(self.index[role]), self.targets[self.index[role]]


def train_head(
    cache: FeatureCache,
    samples: Samples,
    split: Split,
    config: TrainConfig,
    *,
    runs: Path,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Run:
    """Train one head or fusion and keep it as a run under ``runs``.

    Training rows train (and fit the scalers); validation rows choose the epoch and the thresholds; test rows are
    scored once, at the end. With ``refit = "all"`` the kept model is trained once more on every row with the choices
    made; the scores stay those of the model that had not seen the test rows.

    Raises:
        ConfigError: a fusion that the cache has no streams for, or settings that do not go together.
        TrainingError: the training diverged.
        DataError, CacheError: features of other pictures or captions than ``samples`` has, or damaged ones.
        DiskFull, RunError: the run could not be written; nothing of it stays.
    """
    _check(config)
    tables = select_streams(cache, config)
    check_inputs(tables, samples)
    rows = _load(tables, samples, split, device)
    _check_present(rows)
    folder = create_folder(runs, _kind(config), datetime.now())
    try:
        return _train_in(folder, cache, tables, samples, split, rows, config, device, progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _train_in(
    folder: Path,
    cache: FeatureCache,
    tables: Mapping[str, FeatureTable],
    samples: Samples,
    split: Split,
    rows: _Rows,
    config: TrainConfig,
    device: str,
    progress: Progress,
) -> Run:
    trained = _train(config, rows, samples.label_names, progress)
    probabilities = trained.predictor.probabilities(rows.streams)
    targets = rows.targets.cpu().numpy() > 0.5
    index = {role: positions.cpu().numpy() for role, positions in rows.index.items()}
    thresholds = _thresholds(config, probabilities[index["validation"]], targets[index["validation"]])
    speed = _rows_per_second(trained.predictor, rows.streams.rows(rows.index["test"]))

    labels = list(samples.label_names)
    metrics: dict[str, Any] = {
        "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
        "kind": _kind(config),
        "device": device_name(device),
        "cache": str(cache.root),
        "split": {"name": split.name, "method": split.method, "digest": split.digest, "seed": split.seed},
        "rows": {role: len(index[role]) for role in ROLES},
        "truth": _truth_digest(rows, index["test"], labels),
        "missing": _missing(rows),
        "scores": {
            role: score_rows(probabilities[index[role]], targets[index[role]], thresholds, labels)
            for role in ("validation", "test")
        },
        "trivial": score_trivial(trivial_rows(targets[index["train"]], labels), targets[index["test"]], labels),
        "thresholds": config.thresholds,
        "best_epochs": {name: result.best_epoch for name, result in trained.fits.items()},
        "seconds": {"train": trained.seconds},
        "prediction_rows_per_second": speed,
        "parameters": trained.predictor.parameters,
        "refit": config.refit,
    }
    predictor = trained.predictor
    if config.refit == "all":
        refitted = _refit(config, rows, trained, samples.label_names, progress)
        predictor, metrics["seconds"]["refit"] = refitted.predictor, refitted.seconds
    history = "".join(json.dumps(record) + "\n" for record in trained.history)
    write_bytes(folder / "history.jsonl", history.encode())
    streams = {name: table.description for name, table in tables.items()}
    predictions = _predictions(rows, index, probabilities, trained.stacked)
    return write_run(
        folder,
        config,
        streams,
        labels,
        samples.layout,
        predictor,
        thresholds,
        predictions,
        describe_machine(device),
        metrics,
    )


def _check(config: TrainConfig) -> None:
    FUSIONS.get(config.fusion.kind)
    if config.head.kind in BASELINES:
        if config.fusion.kind not in JOINED:
            raise ConfigError(
                f"head {config.head.kind} reads one array of features, fusion {config.fusion.kind} has parts",
                "Choose --fusion image, text or concat",
            )
    elif config.head.kind not in HEADS:
        known = [*HEADS, *BASELINES]
        raise ConfigError(f"unknown head {config.head.kind!r}", did_you_mean(config.head.kind, known))


def _check_present(rows: _Rows) -> None:
    for name, roles in _missing(rows).items():
        for role, count in roles.items():
            if count == len(rows.index[role]):
                what = "picture" if name == "image" else "caption"
                raise ConfigError(
                    f"not one of the {count} {role} rows has a {what}, so nothing can be said of fusing them",
                    f"Check where clipfuse extract finds the {what}s, or choose another --fusion",
                )


def _kind(config: TrainConfig) -> str:
    return f"{config.head.kind}-{config.fusion.kind}" if config.head.kind in BASELINES else config.fusion.kind


def _load(tables: Mapping[str, FeatureTable], samples: Samples, split: Split, device: str) -> _Rows:
    ids = tuple(name for role in ROLES for name in split.roles[role])
    assert samples.labels is not None
    targets = torch.from_numpy(samples.labels[samples.rows(ids)].astype(np.float32)).to(device)
    index, start = {}, 0
    for role in ROLES:
        index[role] = torch.arange(start, start + len(split.roles[role]), device=device)
        start += len(split.roles[role])
    return _Rows(ids, read_streams(tables, ids, device), targets, index)


def _train(
    config: TrainConfig,
    rows: _Rows,
    labels: tuple[str, ...],
    progress: Progress,
    epochs: Mapping[str, int] | None = None,
) -> _Trained:
    """Train on the rows with that role. ``epochs``: part -> how many, where that is known; the settings' otherwise."""
    if config.head.kind not in BASELINES:
        import torch._dynamo  # noqa: F401  (the first optimiser would: seconds that are no training)
    started = time.perf_counter()
    scalers = fit_scalers(rows.streams, rows.index["train"])
    scaled = _Rows(rows.ids, scale(rows.streams, scalers), rows.targets, rows.index)
    if config.head.kind in BASELINES:
        streams, targets = scaled.of("train")
        estimator = BASELINES.get(config.head.kind)(config.head, len(targets))
        fit_estimator(estimator, streams.joined().cpu().numpy(), targets.cpu().numpy() > 0.5)
        predictor = EstimatorPredictor(estimator, scalers, len(labels))
        return _Trained(predictor, {}, None, [], time.perf_counter() - started)
    dims = {name: value.shape[-1] for name, value in rows.streams.values.items()}
    model = build_model(config, dims, len(labels), seed=config.seed).to(rows.targets.device)
    history: list[dict[str, Any]] = []

    def on_epoch(part: str, record: EpochRecord) -> None:
        history.append({"part": part, **asdict(record)})
        progress(part, record.epoch, record.epochs)

    train = scaled.of("train")
    validation = scaled.of("validation") if len(rows.index["validation"]) else None
    of_part = part_settings(config.fusion, config.fit, epochs or {})
    if isinstance(model, StackedFusion):
        stacked = fit_stacked(
            model,
            train,
            validation,
            config.fusion.stacking,
            of_part,
            _folds(config, train[1]),
            seed=config.seed,
            on_epoch=on_epoch,
        )
        fits = stacked.fits
    else:
        stacked = None
        name = config.fusion.kind
        result = fit(model, train, validation, of_part(name), seed=config.seed, on_epoch=lambda r: on_epoch(name, r))
        fits = {name: result}
    return _Trained(TorchPredictor(model, scalers), fits, stacked, history, time.perf_counter() - started)


def _refit(
    config: TrainConfig, rows: _Rows, trained: _Trained, labels: tuple[str, ...], progress: Progress
) -> _Trained:
    """The same settings on every row of the split, each part for as many epochs as validation had chosen."""
    everything = torch.arange(len(rows.ids), device=rows.targets.device)
    nothing = everything[:0]
    whole = _Rows(rows.ids, rows.streams, rows.targets, {"train": everything, "validation": nothing})
    epochs = {name: result.best_epoch for name, result in trained.fits.items()}
    return _train(config, whole, labels, progress, epochs)


def _folds(config: TrainConfig, targets: torch.Tensor) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    if config.fusion.stacking != "out-of-fold":
        return []
    return folds(targets.cpu().numpy() > 0.5, config.fusion.folds, config.seed)


def _thresholds(
    config: TrainConfig, probabilities: NDArray[np.float64], targets: NDArray[np.bool_]
) -> NDArray[np.float64]:
    if config.thresholds == "fixed":
        return np.full(targets.shape[1], 0.5)
    return tune_thresholds(probabilities, targets, mode=config.thresholds)


def _missing(rows: _Rows) -> dict[str, dict[str, int]]:
    """Stream -> role -> how many of the role's rows lack it; they are scored all the same."""
    return {
        name: {role: int((~present[rows.index[role]]).sum()) for role in ROLES}
        for name, present in rows.streams.present.items()
    }


def _truth_digest(rows: _Rows, test: NDArray[np.int64], labels: list[str]) -> str:
    """SHA-256 over the test rows' labels: scores against other labels are not to be compared."""
    order = sorted(test.tolist(), key=lambda row: rows.ids[row])
    truth = (rows.targets[order] > 0.5).cpu().numpy()
    return hashlib.sha256(json.dumps([labels, truth.astype(int).tolist()]).encode()).hexdigest()


def _rows_per_second(predictor: Predictor, streams: Streams) -> float:
    """Probabilities from features in memory: the best of three passes over the test rows."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        predictor.probabilities(streams)
        best = min(best, time.perf_counter() - started)
    return len(streams) / best


def _predictions(
    rows: _Rows,
    index: Mapping[str, NDArray[np.int64]],
    probabilities: NDArray[np.float64],
    stacked: StackedResult | None,
) -> Predictions:
    roles = np.zeros(len(rows.ids), dtype=np.uint8)
    targets = rows.targets.cpu().numpy() > 0.5
    for number, role in enumerate(ROLES):
        roles[index[role]] = number
    held_out = stacked.out_of_fold if stacked is not None else {}
    kept = np.full((len(rows.ids), len(held_out), rows.targets.shape[1]), np.nan, dtype=np.float32)
    fold_of = np.full(len(rows.ids), -1, dtype=np.int16)
    if stacked is not None and held_out:
        fold_of[index["train"]] = stacked.fold_of
        for n, part in enumerate(held_out.values()):
            kept[index["train"], n] = part.cpu().numpy()
    return Predictions(rows.ids, roles, targets, probabilities.astype(np.float32), fold_of, tuple(held_out), kept)
