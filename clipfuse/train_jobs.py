"""Training without files: rows in memory in, predictors out; one model, an ensemble, or many of them at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from clipfuse.ensembles import EnsembleMember, ensemble_members, with_cycles
from clipfuse.inputs import Progress
from clipfuse.models import build_model
from clipfuse.predictor import EnsemblePredictor, Predictor, TorchPredictor
from clipfuse.train_config import TrainConfig
from clipfuse.training.fit import EpochRecord, OnEpoch
from clipfuse.training.rows import Rows
from clipfuse.training.snapshots import own_epochs, snapshot_name, train_snapshots
from clipfuse.training.train_models import Fitted, Trainee, train_models
from clipfuse.training.validation import predict_rows

ENSEMBLE = "ensemble"
"""The part under which an ensemble of folds keeps what each member says of the rows that it has not seen."""

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Job:
    """A model, or an ensemble, to be trained.

    Attributes:
        config: every setting.
        roles: "train" and, where there are such, "validation" -> rising positions in the rows.
        epochs: part -> how many, where that is known; the settings' otherwise.
        initial: weights and scalers to start from: of one model for all members, or one for each; none starts fresh.
        name: put before the parts' names in the progress. Several jobs have different ones.
    """

    config: TrainConfig
    roles: Mapping[str, torch.Tensor]
    epochs: Mapping[str, int] = field(default_factory=dict)
    initial: Sequence[State] = ()
    name: str = ""


@dataclass(frozen=True)
class Trained:
    """A trained model, how its training went, one record an epoch, and seconds of wall clock (of several jobs at once:
    an equal share)."""

    predictor: Predictor
    fitted: Fitted
    history: list[dict[str, Any]]
    seconds: float

    @property
    def best_epochs(self) -> dict[str, int]:
        """Part -> the epoch that is kept."""
        return {name: result.best_epoch for name, result in self.fitted.fits.items()}


def train_jobs(jobs: Sequence[Job], rows: Rows, progress: Progress) -> list[Trained]:
    """Train every job; what has one shape is trained side by side where that is faster.

    Raises:
        TrainingError: no rows, or a training that diverged.
    """
    import torch._dynamo  # noqa: F401  (the first optimiser would: seconds that are no training)

    started = time.perf_counter()
    histories: list[list[dict[str, Any]]] = [[] for _ in jobs]

    def on_epoch(part: str, record: EpochRecord) -> None:
        number = next(n for n, job in enumerate(jobs) if part.startswith(job.name))
        histories[number].append({"part": part.removeprefix(jobs[number].name), **asdict(record)})
        progress(part, record.epoch, record.epochs)

    members = [_members(job, rows) for job in jobs]
    trainees = [
        [_trainee(job, own, n, rows) for n, own in enumerate(many)] for job, many in zip(jobs, members, strict=True)
    ]
    alone = [n for n, job in enumerate(jobs) if job.config.ensemble.kind == "snapshots"]
    together = [trainee for n, some in enumerate(trainees) if n not in alone for trainee in some]
    found = iter(train_models(together, rows, on_epoch))
    results = []
    for number, job in enumerate(jobs):
        if number in alone:
            results.append(_snapshots(trainees[number][0], rows, on_epoch))
        else:
            fitted = [next(found) for _ in members[number]]
            results.append(_gathered(job, members[number], trainees[number], fitted, rows))
    seconds = (time.perf_counter() - started) / len(jobs)
    return [
        Trained(predictor, fitted, history, seconds)
        for (predictor, fitted), history in zip(results, histories, strict=True)
    ]


def _members(job: Job, rows: Rows) -> list[EnsembleMember]:
    train = job.roles["train"]
    if job.config.ensemble.kind == "snapshots":
        return [EnsembleMember("", with_cycles(job.config), train)]
    return ensemble_members(job.config, train, rows)


def _trainee(job: Job, member: EnsembleMember, number: int, rows: Rows) -> Trainee:
    labels = rows.targets.shape[1]
    model = build_model(member.config, rows.dims, labels, seed=member.config.seed).to(rows.targets.device)
    initial = job.initial[number % len(job.initial)] if job.initial else None
    epochs = own_epochs(job.epochs, member.name)
    if job.config.ensemble.kind == "snapshots":
        epochs |= own_epochs(job.epochs, snapshot_name(0))
    name = job.name + member.name
    return Trainee(member.config, model, member.train, job.roles.get("validation"), epochs, name, initial)


def _gathered(
    job: Job,
    members: Sequence[EnsembleMember],
    trainees: Sequence[Trainee],
    fitted: Sequence[Fitted],
    rows: Rows,
) -> tuple[Predictor, Fitted]:
    predictors = tuple(TorchPredictor(trainee.model) for trainee in trainees)
    if job.config.ensemble.kind == "none":
        return predictors[0], fitted[0]
    fits = {
        f"{member.name}{name}": fit
        for member, one in zip(members, fitted, strict=True)
        for name, fit in one.fits.items()
    }
    ensemble = EnsemblePredictor(predictors)
    if job.config.ensemble.kind == "seeds" or job.initial:  # initial weights may come from any of the rows
        return ensemble, Fitted(fits)
    train = job.roles["train"]
    held_out = torch.zeros_like(rows.targets[train])
    fold_of = np.full(len(train), -1, dtype=np.int64)
    for number, (member, predictor) in enumerate(zip(members, predictors, strict=True)):
        assert member.outside is not None
        held_out[member.outside] = torch.sigmoid(predict_rows(predictor.model, rows, train[member.outside]))
        fold_of[member.outside.cpu().numpy()] = number
    return ensemble, Fitted(fits, {ENSEMBLE: held_out}, fold_of)


def _snapshots(trainee: Trainee, rows: Rows, on_epoch: OnEpoch) -> tuple[Predictor, Fitted]:
    found = train_snapshots(trainee, rows, on_epoch)
    fits = {f"{snapshot_name(n)}{name}": fit for n, (_, one) in enumerate(found) for name, fit in one.fits.items()}
    return EnsemblePredictor(tuple(TorchPredictor(model) for model, _ in found)), Fitted(fits)
