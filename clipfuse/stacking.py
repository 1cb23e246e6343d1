"""Training the sum and mixed fusions: parts first, then the meta-classifier on what they say, or all at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clipfuse.config import FitConfig, FusionConfig
from clipfuse.fusions import StackedFusion
from clipfuse.streams import Streams, fit_scalers, scale
from clipfuse.train import EpochRecord, FitResult, fit, predict_logits

Stacking = Literal["out-of-fold", "joint", "in-sample"]
Rows = tuple[Streams, torch.Tensor]
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


def part_settings(fusion: FusionConfig, config: FitConfig, epochs: Mapping[str, int]) -> Callable[[str], FitConfig]:
    """Part name -> its settings. ``epochs``: how many each part takes, where that is known."""

    def settings(part: str) -> FitConfig:
        meta = {"learning_rate": fusion.meta_learning_rate, "epochs": fusion.meta_epochs} if part == "meta" else {}
        known = {"epochs": epochs[part]} if part in epochs else {}
        return config.model_copy(update={**meta, **known})

    return settings


@dataclass(frozen=True)
class StackedResult:
    """How the parts and the meta-classifier were fitted.

    Attributes:
        fits: part name and "meta", or only "joint" -> how its fit went.
        out_of_fold: part name -> (training rows, labels) probabilities from models that had not seen the row;
            empty unless stacking is out-of-fold.
        fold_of: (training rows,) int64 number of the fold that held the row out; empty likewise.
    """

    fits: dict[str, FitResult]
    out_of_fold: dict[str, torch.Tensor]
    fold_of: NDArray[np.int64]


def fit_stacked(
    model: StackedFusion,
    train: Rows,
    validation: Rows | None,
    stacking: Stacking,
    settings: Callable[[str], FitConfig],
    folds: Folds,
    *,
    seed: int,
    on_epoch: Callable[[str, EpochRecord], None],
) -> StackedResult:
    """Train a stacked fusion in place.

    ``out-of-fold``: every part is trained once per fold on the other folds and says what it thinks of the rows that it
    has not seen; the meta-classifier learns from that (Wolpert 1992, "Stacked generalization"). The parts that are
    kept are trained on all training rows. ``in-sample``: the meta-classifier learns from the parts' outputs on their
    own training rows, as the reports did. ``joint``: everything at once.

    Args:
        model: on the device of the data; trained in place.
        train: the training rows.
        validation: rows that choose each fit's epoch, or None.
        stacking: how.
        settings: part name, "meta" or "joint" -> how it is fitted.
        folds: (rows inside, rows outside) of each fold; looked at by out-of-fold only.
        seed: of orders and dropout.
        on_epoch: called with the part and its epoch.
    """
    if stacking == "joint":
        result = fit(model, train, validation, settings("joint"), seed=seed, on_epoch=partial(on_epoch, "joint"))
        return StackedResult({"joint": result}, {}, np.zeros(0, dtype=np.int64))
    streams, targets = train
    fits: dict[str, FitResult] = {}
    held_out: dict[str, torch.Tensor] = {}
    fold_of = np.full(len(targets), -1, dtype=np.int64)
    for n, (name, part) in enumerate(model.parts.items()):
        fresh = copy.deepcopy(part.state_dict())
        fits[name] = fit(part, train, validation, settings(name), seed=seed + n, on_epoch=partial(on_epoch, name))
        if stacking == "in-sample":
            continue
        held_out[name] = torch.zeros_like(targets)
        learner = copy.deepcopy(part)
        for fold, (inside, outside) in enumerate(folds):
            learner.load_state_dict(fresh)
            rows = torch.from_numpy(inside).to(targets.device)
            # standardising again on the fold's own rows is the same as having done it on them alone
            scalers = fit_scalers(streams, rows)
            scaled = scale(streams, scalers)
            fit(
                learner,
                (scaled.rows(rows), targets[rows]),
                None if validation is None else (scale(validation[0], scalers), validation[1]),
                settings(name),
                seed=seed + n + 1000 * (fold + 1),
                on_epoch=partial(on_epoch, f"{name}, fold {fold + 1} of {len(folds)}"),
            )
            rows = torch.from_numpy(outside).to(targets.device)
            held_out[name][rows] = predict_logits(learner, scaled.rows(rows))
            fold_of[outside] = fold
    learned_from = torch.stack(list(held_out.values()), dim=1) if held_out else _part_logits(model, streams)
    fits["meta"] = fit(
        _OnParts(model.meta),
        (_as_stream(learned_from), targets),
        None if validation is None else (_as_stream(_part_logits(model, validation[0])), validation[1]),
        settings("meta"),
        seed=seed + 100,
        on_epoch=partial(on_epoch, "meta"),
    )
    out_of_fold = {name: torch.sigmoid(logits) for name, logits in held_out.items()}
    return StackedResult(fits, out_of_fold, fold_of if held_out else fold_of[:0])


class _OnParts(nn.Module):
    """The meta-classifier as a fusion of one stream whose tokens are the parts, so that the one loop can train it."""

    def __init__(self, meta: nn.Module) -> None:
        super().__init__()
        self.meta = meta

    def forward(self, values: dict[str, torch.Tensor], present: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self.meta(values["parts"])
        return logits


def _part_logits(model: StackedFusion, streams: Streams) -> torch.Tensor:
    return torch.stack([predict_logits(part, streams) for part in model.parts.values()], dim=1)


def _as_stream(part_logits: torch.Tensor) -> Streams:
    present = torch.ones(len(part_logits), dtype=torch.bool, device=part_logits.device)
    return Streams({"parts": part_logits}, {"parts": present})
