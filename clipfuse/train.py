"""Stage two's loop: one for every head and fusion."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from clipfuse.config import FitConfig
from clipfuse.errors import TrainingError
from clipfuse.streams import Streams

EVALUATION_ROWS = 8192
"""Rows of one forward pass without gradients."""


@dataclass(frozen=True)
class EpochRecord:
    """One of ``epochs`` epochs, counted from 1. Losses are BCE per cell (row × label); ``validation_f1`` is micro-F1
    at 0.5."""

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float | None
    validation_f1: float | None


@dataclass(frozen=True)
class FitResult:
    """How a fit went; the model holds the weights of ``best_epoch`` when it is over."""

    best_epoch: int
    history: tuple[EpochRecord, ...]
    seconds: float


def fit(
    model: nn.Module,
    train: tuple[Streams, torch.Tensor],
    validation: tuple[Streams, torch.Tensor] | None,
    config: FitConfig,
    *,
    seed: int,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> FitResult:
    """Train ``model`` (a fusion) with BCE on its logits; writes no file, prints nothing.

    Args:
        model: on the device of the data; its weights are changed in place.
        train: streams and (rows, labels) float targets.
        validation: the same for the rows that choose the epoch (highest micro-F1 at 0.5, the lower loss on a tie);
            None keeps the last epoch. Scored in evaluation mode.
        config: optimiser, schedule, batch size, epochs.
        seed: order of the rows and dropout; weights are the caller's.
        on_epoch: called after every epoch.

    Raises:
        TrainingError: no rows, batch norm on batches of one row, or a loss that is not finite.
    """
    streams, targets = train
    rows = len(targets)
    if rows == 0:
        raise TrainingError("no training rows", "Choose a split that has some")
    started = time.perf_counter()
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    size = min(config.batch_size or min(256, max(16, rows // 32)), rows)
    if size == 1 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        raise TrainingError("batch norm can't train on one row", "Raise --batch-size, or choose --head mlp")
    steps = max(1, rows // size)  # the last, short batch is left out: batch norm can't train on one row
    optimizer = _optimizer(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(config, steps * config.epochs))
    history: list[EpochRecord] = []
    best: tuple[float, float] | None = None
    best_epoch, best_state = config.epochs, None
    for epoch in range(1, config.epochs + 1):
        model.train()
        shuffled = torch.randperm(rows, generator=order).to(targets.device)
        total = torch.zeros((), device=targets.device)
        for step in range(steps):
            index = shuffled[step * size : (step + 1) * size]
            batch = streams.rows(index)
            loss = nn.functional.binary_cross_entropy_with_logits(model(batch.values, batch.present), targets[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.detach()
        record = EpochRecord(epoch, config.epochs, float(total) / steps, *_validate(model, validation))
        for loss_of, value in (("training", record.train_loss), ("validation", record.validation_loss)):
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"the {loss_of} loss is {value} in epoch {epoch}",
                    "Lower --learning-rate, or check the features for outliers",
                )
        history.append(record)
        if on_epoch is not None:
            on_epoch(record)
        if record.validation_f1 is not None and record.validation_loss is not None:
            score = (record.validation_f1, -record.validation_loss)
            if best is None or score > best:
                best, best_epoch, best_state = score, epoch, copy.deepcopy(model.state_dict())
    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    return FitResult(best_epoch, tuple(history), time.perf_counter() - started)


@torch.inference_mode()
def predict_logits(model: nn.Module, streams: Streams) -> torch.Tensor:
    """(rows, labels) logits in evaluation mode, in blocks of rows."""
    model.eval()
    blocks = []
    for start in range(0, len(streams), EVALUATION_ROWS):
        block = streams.rows(slice(start, start + EVALUATION_ROWS))
        blocks.append(model(block.values, block.present))
    return torch.cat(blocks)


def predict_probabilities(model: nn.Module, streams: Streams) -> torch.Tensor:
    """(rows, labels) probabilities in evaluation mode."""
    return torch.sigmoid(predict_logits(model, streams))


def _validate(model: nn.Module, validation: tuple[Streams, torch.Tensor] | None) -> tuple[float | None, float | None]:
    if validation is None:
        return None, None
    streams, targets = validation
    logits = predict_logits(model, streams)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    chosen, true = logits >= 0, targets > 0.5
    hits = int((chosen & true).sum())
    return float(loss), 2 * hits / max(1, int(chosen.sum()) + int(true.sum()))


def _optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """Weight decay on matrices only: biases, norms and gains are left alone."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, fused=True)


def _schedule(config: FitConfig, steps: int) -> Callable[[int], float]:
    """Factor on the learning rate: constant, or half a cosine from 1 to 0."""
    if config.schedule == "constant":
        return lambda _step: 1.0
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
