"""Several models from one training: the rate falls to zero in cycles, and each cycle's end leaves a model.

Huang et al. 2017, "Snapshot Ensembles: Train 1, get M for free". Parts of a stacked fusion, and their folds' learners,
leave a snapshot each; every snapshot has a combiner of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch

from clipfuse.fusions import StackedFusion
from clipfuse.model_inputs import JointModel
from clipfuse.stream_model import StreamModel
from clipfuse.training.fit import FitResult, OnEpoch
from clipfuse.training.rows import Rows
from clipfuse.training.train_models import Fitted, FittedParts, Trainee, combine_parts, fit_parts


def train_snapshots(trainee: Trainee, rows: Rows, on_epoch: OnEpoch) -> list[tuple[JointModel | StackedFusion, Fitted]]:
    """Train the model, in place, and give one model for each cycle, the last one last.

    Args:
        trainee: everything in it that is fitted has a cosine schedule with as many cycles, but for the combiner.
        rows: where it takes its rows from.
        on_epoch: called after each epoch.

    Raises:
        TrainingError: no rows, or a training that diverged.
    """
    (parts,) = fit_parts([trainee], rows, on_epoch)
    cycles = len(parts.results[0].snapshots)
    copies = [_snapshot(parts, n) for n in range(cycles)]
    fitted = combine_parts(copies, rows, on_epoch)
    return [(one.trainee.model, result) for one, result in zip(copies, fitted, strict=True)]


def snapshot_name(number: int) -> str:
    """What is put before the names of a snapshot's parts; numbers count from 0."""
    return f"snapshot {number + 1}, "


def own_epochs(epochs: Mapping[str, int], name: str) -> dict[str, int]:
    """The epochs of the parts that have ``name`` before their names."""
    return {part.removeprefix(name): count for part, count in epochs.items() if part.startswith(name)}


def _snapshot(parts: FittedParts, number: int) -> FittedParts:
    """A copy of all models as the end of a cycle left them."""
    trainee = parts.trainee
    name = trainee.name + snapshot_name(number)
    model = copy.deepcopy(trainee.model)
    inside = dict(model.parts) if isinstance(model, StackedFusion) else {}
    own, others = parts.results[: len(parts.members)], parts.results[len(parts.members) :]
    members = []
    for member, result in zip(parts.members, own, strict=True):
        part = member.name.removeprefix(trainee.name)
        members.append(
            replace(member, name=name + part, model=_as_it_was(inside.get(part, model), result.snapshots[number]))
        )
    learners = []
    for learner, result in zip(parts.learners, others, strict=True):
        copied = _as_it_was(copy.deepcopy(learner.member.model), result.snapshots[number])
        part = name + learner.part.removeprefix(trainee.name)
        learners.append(replace(learner, part=part, member=replace(learner.member, model=copied)))
    results = [FitResult(len(result.history), result.history) for result in own]  # a refit takes all epochs
    epochs = {**trainee.epochs, **own_epochs(trainee.epochs, snapshot_name(number))}
    return FittedParts(replace(trainee, name=name, model=model, epochs=epochs), members, learners, results)


def _as_it_was(model: StreamModel, state: Mapping[str, torch.Tensor]) -> StreamModel:
    model.load_state_dict(dict(state))
    return model.eval()
