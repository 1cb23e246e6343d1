"""Fitting what is not trained in steps: models whose head is a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clipfuse.baselines import EstimatorHead
from clipfuse.fusions import JoinedFusion
from clipfuse.model_inputs import JointModel
from clipfuse.training.fit import FitResult, Member, OnEpoch, fit
from clipfuse.training.rows import Rows, in_memory
from clipfuse.training.validation import EVALUATION_ROWS


def has_estimator(model: nn.Module) -> bool:
    """Whether any of its heads is an estimator."""
    return any(isinstance(module, EstimatorHead) for module in model.modules())


def fit_members(members: Sequence[Member], rows: Rows, on_epoch: OnEpoch) -> list[FitResult]:
    """Fit the members whose head is an estimator, and train the others (see ``fit``), all in place.

    Raises:
        TrainingError: as ``fit``, or scikit-learn could not fit one.
        ConfigError: an estimator, and rows that stay on disk.
    """
    stepped = iter(fit([member for member in members if not has_estimator(member.model)], rows, on_epoch))
    return [_fit_one(member, rows) if has_estimator(member.model) else next(stepped) for member in members]


def joined_features(model: JointModel, rows: Rows, positions: torch.Tensor) -> NDArray[np.float32]:
    """(n, dim) float32: what the head of a joined fusion reads of the rows at ``positions``."""
    assert isinstance(model.fusion, JoinedFusion)
    streams = in_memory(rows, "a scikit-learn estimator").streams.without_views().only(model.streams)
    model.eval()
    found = []
    with torch.inference_mode():
        for part in torch.split(positions, EVALUATION_ROWS):
            some = streams.rows(part)
            read = model.fusion.features(model.inputs(some.values, some.present))
            found.append(read[:, 0].float().cpu().numpy())
    return np.concatenate(found)


def _fit_one(member: Member, rows: Rows) -> FitResult:
    model = member.model
    assert isinstance(model, JointModel) and isinstance(model.fusion, JoinedFusion)
    head = model.fusion.head
    assert isinstance(head, EstimatorHead)
    targets = rows.targets[member.train].cpu().numpy() > 0.5
    head.fit(joined_features(model, rows, member.train), targets, seed=member.seed)
    return FitResult(0, ())
