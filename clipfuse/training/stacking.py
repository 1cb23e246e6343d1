"""Training stacked fusions: parts first, then the combiner on what they say.

``out-of-fold``: every part is trained once per fold on the other folds and says what it thinks of the rows that it has
not seen; the combiner learns from that (Wolpert 1992, "Stacked generalization"). The parts that are kept are trained
on all training rows. ``validation``: the combiner learns from what the parts say of the validation rows.
``in-sample``: from what they say of their own training rows, as the reports did.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clipfuse.fusions.stacked import StackedFusion, part_present
from clipfuse.stream_model import StreamModel
from clipfuse.streams import Streams
from clipfuse.train_config import FitConfig
from clipfuse.training.fit import FitResult, Member, OnEpoch, fit
from clipfuse.training.rows import Rows, RowsInMemory
from clipfuse.training.validation import predict_rows

COMBINER = "combiner"


@dataclass(frozen=True)
class FoldLearner:
    """A copy of a part that a fold's rows are kept from.

    Attributes:
        part: the part's name.
        fold: number of the fold.
        member: what is trained.
        outside: places in the training rows that it does not see.
    """

    part: str
    fold: int
    member: Member
    outside: torch.Tensor


def fold_learners(
    parts: Sequence[Member], folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> list[FoldLearner]:
    """A copy of each part for each fold, fresh as the part is."""
    device = parts[0].train.device
    return [
        FoldLearner(
            part.name,
            fold,
            Member(
                f"{part.name}, fold {fold + 1} of {len(folds)}",
                copy.deepcopy(part.model),
                part.config,
                part.seed + 1000 * (fold + 1),
                part.train[torch.from_numpy(inside).to(device)],
                part.validation,
            ),
            torch.from_numpy(outside).to(device),
        )
        for part in parts
        for fold, (inside, outside) in enumerate(folds)
    ]


def held_out_logits(
    learners: Sequence[FoldLearner], rows: Rows, train: torch.Tensor
) -> tuple[dict[str, torch.Tensor], NDArray[np.int64]]:
    """Part -> (training rows, labels) logits from the learner that had not seen the row; and (training rows,) the
    number of that learner's fold."""
    logits: dict[str, torch.Tensor] = {}
    fold_of = np.full(len(train), -1, dtype=np.int64)
    for learner in learners:
        found = logits.setdefault(learner.part, torch.zeros_like(rows.targets[train]))
        found[learner.outside] = predict_rows(learner.member.model, rows, train[learner.outside])
        fold_of[learner.outside.cpu().numpy()] = learner.fold
    return logits, fold_of


@dataclass(frozen=True)
class CombinerFit:
    """What one combiner learns from.

    Attributes:
        name: for the progress.
        model: its parts are trained.
        config: of the loop.
        seed: of the order of rows.
        logits: part -> (n, labels) logits of the rows to learn from.
        learns: (n,) positions of those rows.
        chooses: positions of the rows that choose the epoch, by what the kept parts say of them; None keeps the last.
    """

    name: str
    model: StackedFusion
    config: FitConfig
    seed: int
    logits: Mapping[str, torch.Tensor]
    learns: torch.Tensor
    chooses: torch.Tensor | None


def fit_combiners(fits: Sequence[CombinerFit], rows: Rows, on_epoch: OnEpoch) -> list[FitResult]:
    """Train the combiners, in place, on rows made of what their parts say."""
    said, present, targets, members, start = [], [], [], [], 0
    for one in fits:
        positions, logits = one.learns, torch.stack(list(one.logits.values()), dim=1)
        if one.chooses is not None:
            kept = [predict_rows(part, rows, one.chooses) for part in one.model.parts.values()]
            positions, logits = torch.cat([positions, one.chooses]), torch.cat([logits, torch.stack(kept, dim=1)])
        said.append(logits)
        there = {name: value[positions] for name, value in rows.present.items()}
        present.append(torch.stack([part_present(part, there) for part in one.model.parts.values()], dim=1))
        targets.append(rows.targets[positions])
        places = torch.arange(start, start + len(positions), device=positions.device)
        learns, chooses = places[: len(one.learns)], places[len(one.learns) :]
        on_parts = _OnParts(one.model.combiner)
        members.append(
            Member(one.name, on_parts, one.config, one.seed, learns, None if one.chooses is None else chooses)
        )
        start += len(positions)
    if not fits:
        return []
    has_input = torch.cat(present)
    every_row = torch.ones(len(has_input), dtype=torch.bool, device=has_input.device)
    streams = Streams(
        {"parts": torch.cat(said), "has_input": has_input[..., None]}, {"parts": every_row, "has_input": every_row}
    )
    return fit(members, RowsInMemory(streams, torch.cat(targets)), on_epoch)


class _OnParts(StreamModel):
    """A combiner as a model of two streams: what the parts say, and which had an input."""

    def __init__(self, combiner: nn.Module) -> None:
        super().__init__()
        self.combiner = combiner

    @property
    def streams(self) -> tuple[str, ...]:
        return ("parts", "has_input")

    def forward(self, values: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self.combiner(values["parts"], values["has_input"][..., 0])
        return logits
