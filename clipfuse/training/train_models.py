"""From fresh models to trained ones: scalers, parts, folds and combiners, for one model or for many side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clipfuse.fusions import StackedFusion
from clipfuse.model_inputs import JointModel, ModelInputs
from clipfuse.scaler import Moments
from clipfuse.stream_model import StreamModel
from clipfuse.train_config import FitConfig, TrainConfig
from clipfuse.training.biases import start_biases
from clipfuse.training.estimators import fit_members
from clipfuse.training.fit import FitResult, Member, OnEpoch
from clipfuse.training.rows import Rows, fold_rows
from clipfuse.training.scaling import set_scalers, stream_moments
from clipfuse.training.stacking import (
    COMBINER,
    CombinerFit,
    FoldLearner,
    fit_combiners,
    fold_learners,
    held_out_logits,
)
from clipfuse.training.validation import predict_rows
from clipfuse.training.zero_shot import start_zero_shot

JOINT = "joint"


@dataclass(frozen=True)
class Trainee:
    """A fresh model and what it is trained on.

    Attributes:
        config: every setting.
        model: on the device of the rows; trained in place.
        train: (n,) int64 positions of its training rows, rising.
        validation: the same for the rows that choose epochs; None keeps the last epochs.
        epochs: part -> how many, where that is known; the settings' otherwise.
        name: put before the parts' names in the progress.
        initial: weights and scalers that the model starts from. Learners of folds start fresh: where these weights come
            from, the rows that a fold holds out may have been seen.
    """

    config: TrainConfig
    model: JointModel | StackedFusion
    train: torch.Tensor
    validation: torch.Tensor | None
    epochs: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    initial: Mapping[str, torch.Tensor] | None = None

    def fit_config(self, part: str) -> FitConfig:
        """How a part, the combiner, or the joint model is fitted."""
        chosen = self.config.combiner_fit if part == COMBINER else self.config.fit_of(part)
        return chosen.model_copy(update={"epochs": self.epochs[part]}) if part in self.epochs else chosen


@dataclass(frozen=True)
class Fitted:
    """How a model was trained.

    Attributes:
        fits: part name and "combiner", or "joint", or the fusion's name -> how its fit went.
        out_of_fold: part name -> (training rows, labels) probabilities from models that had not seen the row;
            empty unless stacking is out-of-fold.
        fold_of: (training rows,) int64 number of the fold that held the row out; empty likewise.
    """

    fits: dict[str, FitResult]
    out_of_fold: dict[str, torch.Tensor] = field(default_factory=dict)
    fold_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class FittedParts:
    """A trainee whose parts are trained, and its combiner not yet.

    Attributes:
        trainee: what is trained.
        members: what was trained on all its rows.
        learners: what was trained on folds of them.
        results: how the members' fits went, then the learners'.
    """

    trainee: Trainee
    members: Sequence[Member]
    learners: Sequence[FoldLearner]
    results: Sequence[FitResult]


def train_models(trainees: Sequence[Trainee], rows: Rows, on_epoch: OnEpoch) -> list[Fitted]:
    """Train every model in place. What has one shape is trained side by side where that is faster (see ``fit``).

    Raises:
        TrainingError: no rows, or a training that diverged.
    """
    return combine_parts(fit_parts(trainees, rows, on_epoch), rows, on_epoch)


def fit_parts(trainees: Sequence[Trainee], rows: Rows, on_epoch: OnEpoch) -> list[FittedParts]:
    """Scalers, then everything but the combiners. Raises TrainingError."""
    scalers = _Scalers(rows)
    parts = [_parts(trainee) for trainee in trainees]
    learners = [_learners(trainee, members, rows) for trainee, members in zip(trainees, parts, strict=True)]
    everything = [[*own, *(learner.member for learner in others)] for own, others in zip(parts, learners, strict=True)]
    for trainee, own, members in zip(trainees, parts, everything, strict=True):
        if trainee.initial is not None:
            trainee.model.load_state_dict(trainee.initial)
        for number, member in enumerate(members):
            _prepare_inputs(member, rows)
            if trainee.initial is None or number >= len(own):
                scalers.give(member.model, member.train)
                if trainee.config.bias == "log-odds":
                    start_biases(member.model, rows.targets[member.train])
                start_zero_shot(member.model, rows, member.train)
    results = iter(fit_members(list(chain.from_iterable(everything)), rows, on_epoch))
    return [
        FittedParts(trainee, own, others, [next(results) for _ in members])
        for trainee, own, others, members in zip(trainees, parts, learners, everything, strict=True)
    ]


def combine_parts(found: Sequence[FittedParts], rows: Rows, on_epoch: OnEpoch) -> list[Fitted]:
    """The combiners of stacked fusions, side by side; what has none is done. Raises TrainingError."""
    fitted, combiners, of_trainee = [], [], []
    for number, one in enumerate(found):
        trainee = one.trainee
        logits, fold_of = held_out_logits(one.learners, rows, trainee.train)
        held_out = {name.removeprefix(trainee.name): value for name, value in logits.items()}
        probabilities = {name: torch.sigmoid(value) for name, value in held_out.items()}
        fits = {
            member.name.removeprefix(trainee.name): result
            for member, result in zip(one.members, one.results, strict=False)
        }
        fitted.append(Fitted(fits, probabilities, fold_of if one.learners else fold_of[:0]))
        combiner = _combiner(trainee, one.members, held_out, rows)
        if combiner is not None:
            combiners.append(combiner)
            of_trainee.append(number)
    for number, result in zip(of_trainee, fit_combiners(combiners, rows, on_epoch), strict=True):
        fitted[number].fits[COMBINER] = result
    return fitted


def _prepare_inputs(member: Member, rows: Rows) -> None:
    train = {name: present[member.train] for name, present in rows.present.items()}
    for module in member.model.modules():
        if isinstance(module, ModelInputs):
            module.learn_absent(train, dropped=member.config.modality_dropout > 0)


def _is_stacked(trainee: Trainee) -> bool:
    return isinstance(trainee.model, StackedFusion) and trainee.config.stacking.method != "joint"


def _parts(trainee: Trainee) -> list[Member]:
    """What is trained on all training rows."""
    model, seed = trainee.model, trainee.config.seed
    if isinstance(model, StackedFusion) and _is_stacked(trainee):
        found: dict[str, StreamModel] = dict(model.parts)
    else:
        found = {JOINT if isinstance(model, StackedFusion) else trainee.config.fusion.kind: model}
    return [
        Member(f"{trainee.name}{name}", part, trainee.fit_config(name), seed + n, trainee.train, trainee.validation)
        for n, (name, part) in enumerate(found.items())
    ]


def _learners(trainee: Trainee, parts: Sequence[Member], rows: Rows) -> list[FoldLearner]:
    """What is trained on folds."""
    stacking = trainee.config.stacking
    needed = _is_stacked(trainee) and stacking.method == "out-of-fold" and _is_trained(trainee.model)
    if not needed:
        return []
    return fold_learners(parts, fold_rows(rows, trainee.train, stacking.folds, trainee.config.seed))


def _is_trained(model: nn.Module) -> bool:
    """Whether the combiner has anything to learn: a plain average has not."""
    return isinstance(model, StackedFusion) and any(True for _ in model.combiner.parameters())


def _combiner(
    trainee: Trainee, parts: Sequence[Member], held_out: Mapping[str, torch.Tensor], rows: Rows
) -> CombinerFit | None:
    model, validation = trainee.model, trainee.validation
    if not isinstance(model, StackedFusion) or not _is_stacked(trainee) or not _is_trained(model):
        return None
    learns, chooses = trainee.train, validation
    if trainee.config.stacking.method == "validation" and validation is not None:
        learns, chooses = validation, None
    logits = held_out or {part.name: predict_rows(part.model, rows, learns) for part in parts}
    name = f"{trainee.name}{COMBINER}"
    config = trainee.fit_config(COMBINER)
    return CombinerFit(name, model, config, trainee.config.seed + 100, logits, learns, chooses)


class _Scalers:
    """Moments of streams by training rows: folds of several parts share them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: list[tuple[torch.Tensor, dict[str, Moments]]] = []

    def give(self, model: StreamModel, train: torch.Tensor) -> None:
        """Set the model's scalers to those of its training rows."""
        moments = next((known for positions, known in self._known if torch.equal(positions, train)), None)
        if moments is None:
            moments = stream_moments(self._rows, train)
            self._known.append((train, moments))
        set_scalers([model], moments)
