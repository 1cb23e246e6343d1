"""Stage two's loop: one for every head and fusion, for one model or for several side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clipfuse.errors import TrainingError
from clipfuse.machine import has_bfloat16
from clipfuse.stream_model import StreamModel
from clipfuse.train_config import FitConfig
from clipfuse.training.members import architecture, can_be_together, make_members
from clipfuse.training.modality_dropout import drop_modalities
from clipfuse.training.objective import Objective, label_weights
from clipfuse.training.optimizers import clip, make_optimizer
from clipfuse.training.rows import Rows
from clipfuse.training.running_mean import RunningMean
from clipfuse.training.sampling import draw, row_chances
from clipfuse.training.schedules import LearningRates, cycle_ends
from clipfuse.training.validation import Validation, validate


@dataclass(frozen=True)
class EpochRecord:
    """One of ``epochs`` epochs, counted from 1. ``train_loss`` is the objective's mean over steps; the validation loss
    is BCE per cell, whatever the objective; ``validation_f1`` is micro-F1 at 0.5."""

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float | None
    validation_f1: float | None


@dataclass(frozen=True)
class FitResult:
    """How a fit went; the model holds the weights of ``best_epoch`` when it is over. ``snapshots`` are the weights that
    the end of each cycle left, where there is more than one."""

    best_epoch: int
    history: tuple[EpochRecord, ...]
    snapshots: tuple[Mapping[str, torch.Tensor], ...] = ()


@dataclass(frozen=True)
class Member:
    """A model and what it is trained on.

    Attributes:
        name: for the progress.
        model: on the device of the rows; trained in place.
        config: of the loop.
        seed: of the order of its rows; dropout of members that are trained side by side takes the first one's.
        train: (n,) int64 positions of its training rows, rising.
        validation: the same for the rows that choose the epoch (highest micro-F1 at 0.5, the lower loss on a tie);
            None keeps the last epoch.
    """

    name: str
    model: StreamModel
    config: FitConfig
    seed: int
    train: torch.Tensor
    validation: torch.Tensor | None


Values = Mapping[str, torch.Tensor]
OnEpoch = Callable[[str, EpochRecord], None]


def fit(members: Sequence[Member], rows: Rows, on_epoch: OnEpoch) -> list[FitResult]:
    """Train every member in place; those of one shape and as many steps side by side, where that is faster.

    Args:
        members: what to train; members that share a shape may differ in seed, rows, learning rate, decay, dropout.
        rows: where all of them take their rows from.
        on_epoch: called with a member's name after each of its epochs.

    Raises:
        TrainingError: no rows, batch norm on batches of one row, blocks that are too small, or a loss that is not
            finite.
    """
    results: dict[int, FitResult] = {}
    for group in _groups(members):
        fitted = _Fit([members[n] for n in group], rows, on_epoch).run()
        results.update(zip(group, fitted, strict=True))
    return [results[n] for n in range(len(members))]


def batch_size(config: FitConfig, rows: int) -> int:
    """Rows of one step."""
    if config.batch_size == "all":
        return rows
    return min(config.batch_size or min(256, max(16, rows // 32)), rows)


def _groups(members: Sequence[Member]) -> list[list[int]]:
    """Numbers of the members that are trained side by side."""
    groups: dict[Any, list[int]] = {}
    for number, member in enumerate(members):
        own = {"learning_rate": 0, "weight_decay": 0}
        size = batch_size(member.config, len(member.train)) or 1
        config = member.config.model_copy(update=own).model_dump_json()
        like = (config, architecture(member.model), size, len(member.train) // size)
        groups.setdefault(like if can_be_together(member.model) else number, []).append(number)
    return list(groups.values())


class _Fit:
    """One group of members on their way."""

    def __init__(self, members: Sequence[Member], rows: Rows, on_epoch: OnEpoch) -> None:
        self.members, self.rows, self.on_epoch = members, rows, on_epoch
        self.models = [member.model for member in members]
        self.config = members[0].config
        fewest = min(len(member.train) for member in members)
        if fewest == 0:
            raise TrainingError("no training rows", "Choose a split that has some")
        self.size = batch_size(self.config, fewest)
        self.steps = {bounds[0]: self._steps(bounds) for bounds in rows.bounds}
        if not any(steps for steps, _ in self.steps.values()):
            if any(self._fewest(bounds) for bounds in rows.bounds):
                raise TrainingError("batch norm can't train on one row", "Raise --batch-size, or choose --head mlp")
            raise TrainingError(
                "the memory that features may take holds no block with rows of every fold", "Raise --memory-gb"
            )
        self.generators = [torch.Generator().manual_seed(member.seed) for member in members]
        self.objective = Objective(self.config, self._label_weights())
        self.chances = [
            row_chances(rows.targets[member.train], self.config.oversample, self.config.undersample)
            for member in members
        ]

    def run(self) -> list[FitResult]:
        """All epochs."""
        config, members = self.config, self.members
        torch.manual_seed(members[0].seed)
        together = make_members(self.models)
        optimizer = make_optimizer(self.models, [member.config for member in members])
        rates = LearningRates(optimizer, config, sum(steps for steps, _ in self.steps.values()))
        mean = RunningMean(self.models, config.ema) if config.ema is not None else None
        histories: list[list[EpochRecord]] = [[] for _ in members]
        keepers = [_Best() for _ in members]
        snapshots: list[list[Mapping[str, torch.Tensor]]] = [[] for _ in members]
        compute = _autocast(config, self.rows.targets.device)
        for epoch in range(1, config.epochs + 1):
            for model in self.models:
                model.train()
            totals, steps = torch.zeros(len(members), device=self.rows.targets.device), 0
            for values, present, targets in self._batches():
                with compute:
                    logits = together(values, present)
                losses = self.objective(logits.float(), targets)
                losses.sum().backward()  # type: ignore[no-untyped-call]
                together.after_backward()
                if config.clip_norm is not None:
                    clip(self.models, config.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                rates.step()
                if mean is not None:
                    mean.update()
                totals, steps = totals + losses.detach(), steps + 1
            train_losses = (totals / steps).tolist()
            with mean.swapped() if mean is not None else nullcontext():
                self._look(epoch, train_losses, histories, keepers)
                if config.cycles > 1 and epoch in cycle_ends(config):
                    for model, taken in zip(self.models, snapshots, strict=True):
                        taken.append(copied_state(model))
            rates.end_epoch([_watched(history, epoch) for history in histories])
            if all(keeper.over for keeper in keepers):
                break
        if mean is not None:
            mean.keep()
        for model, keeper in zip(self.models, keepers, strict=True):
            if keeper.state is not None:
                model.load_state_dict(keeper.state)
            model.eval()
        return [
            FitResult(keeper.epoch or len(history), tuple(history), tuple(taken))
            for keeper, history, taken in zip(keepers, histories, snapshots, strict=True)
        ]

    def _look(
        self,
        epoch: int,
        train_losses: Sequence[float],
        histories: Sequence[list[EpochRecord]],
        keepers: Sequence[_Best],
    ) -> None:
        """Score every member on its validation rows and keep what is best so far. One that has run out of patience is
        not looked at any more: it keeps what it would have kept alone."""
        for member, history, keeper, loss in zip(self.members, histories, keepers, train_losses, strict=True):
            if keeper.over:
                continue
            found = None if member.validation is None else validate(member.model, self.rows, member.validation)
            history.append(self._record(member, epoch, loss, found))
            if found is not None:
                keeper.look(epoch, found, member.model, self.config.patience)

    def _batches(self) -> Iterator[tuple[Values, Values, torch.Tensor]]:
        """One epoch: (models, batch, ...) values, present and targets. The last, short batch of a block is left out:
        batch norm can't train on one row."""
        targets, read = self.rows.targets, self.models[0].streams
        for block in self.rows.blocks(self.generators[0]):
            steps, size = self.steps[block.start]
            if steps == 0:
                continue
            orders = []
            for member, chances, generator in zip(self.members, self.chances, self.generators, strict=True):
                first, last = _inside(member.train, (block.start, block.stop))
                order = draw(None if chances is None else chances[first:last], last - first, generator)
                orders.append(member.train[first:last][order.to(targets.device)])
            for step in range(steps):
                index = torch.stack([order[step * size : (step + 1) * size] for order in orders])
                inside = index - block.start
                everything = {name: there[inside] for name, there in block.streams.present.items()}
                present = drop_modalities(everything, self.config.modality_dropout, self.generators[0])
                values = block.streams.only(read).drawn(inside, self.generators[0]).values
                yield values, {name: present[name] for name in read}, targets[index]

    def _fewest(self, bounds: tuple[int, int]) -> int:
        """Training rows in a block, of the member that has fewest there."""
        first_and_last = [_inside(member.train, bounds) for member in self.members]
        return min(last - first for first, last in first_and_last)

    def _steps(self, bounds: tuple[int, int]) -> tuple[int, int]:
        """Steps in a block, and the rows of each: a block may hold fewer than a batch."""
        fewest = self._fewest(bounds)
        size = min(self.size, fewest)
        return (0, 0) if size == 0 or (size == 1 and _has_batch_norm(self.models[0])) else (fewest // size, size)

    def _label_weights(self) -> torch.Tensor | None:
        positives = [(self.rows.targets[member.train] > 0.5).sum(0) for member in self.members]
        return label_weights(self.config.label_weights, torch.stack(positives))

    def _record(self, member: Member, epoch: int, loss: float, found: Validation | None) -> EpochRecord:
        record = EpochRecord(
            epoch, self.config.epochs, loss, found.loss if found else None, found.f1 if found else None
        )
        for loss_of, value in (("training", record.train_loss), ("validation", record.validation_loss)):
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"the {loss_of} loss is {value} in epoch {epoch}",
                    "Lower --learning-rate, or check the features for outliers",
                )
        self.on_epoch(member.name, record)
        return record


class _Best:
    """The best epoch so far, and the weights that it left."""

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.state: dict[str, torch.Tensor] | None = None
        self.over = False
        self._score = (-1.0, 0.0)

    def look(self, epoch: int, found: Validation, model: nn.Module, patience: int | None) -> None:
        score = (found.f1, -found.loss)
        if self.epoch is None or score > self._score:
            self.epoch, self._score = epoch, score
            self.state = copied_state(model)
        self.over = patience is not None and epoch - self.epoch >= patience


def copied_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights and buffers now. Of models side by side these are views: a deep copy would copy all of them."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm1d) for module in model.modules())


def _watched(history: Sequence[EpochRecord], epoch: int) -> float | None:
    """The loss that a plateau is seen in; None for a member that is not trained any more."""
    last = history[-1]
    if last.epoch != epoch:
        return None
    return last.train_loss if last.validation_loss is None else last.validation_loss


def _inside(positions: torch.Tensor, bounds: tuple[int, int]) -> tuple[int, int]:
    """Which part of rising positions lies within the bounds."""
    first, last = torch.searchsorted(positions, torch.tensor(bounds, device=positions.device)).tolist()
    return first, last


def _autocast(config: FitConfig, device: torch.device) -> torch.autocast:
    rough = config.precision == "bfloat16" or (config.precision == "auto" and has_bfloat16(device.type))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=rough)
