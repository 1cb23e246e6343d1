"""Logits without gradients, and what chooses an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from clipfuse.stream_model import StreamModel
from clipfuse.streams import Streams
from clipfuse.training.rows import Rows, wanted

EVALUATION_ROWS = 8192
"""Rows of one forward pass without gradients."""


@torch.inference_mode()
def predict_logits(model: StreamModel, streams: Streams) -> torch.Tensor:
    """(rows, labels) float32 logits in evaluation mode, in blocks of rows."""
    if model.training:  # telling every module takes as long as a small head does for one row
        model.eval()
    if len(streams) <= EVALUATION_ROWS:
        logits: torch.Tensor = model(streams.values, streams.present)
        return logits.float()
    found = []
    streams = streams.without_views()
    for start in range(0, len(streams), EVALUATION_ROWS):
        part = streams.rows(slice(start, start + EVALUATION_ROWS))
        found.append(model(part.values, part.present).float())
    return torch.cat(found)


def predict_rows(model: StreamModel, rows: Rows, positions: torch.Tensor) -> torch.Tensor:
    """(n, labels) logits of the rows at ``positions``, which rise."""
    found = []
    for block, inside in wanted(rows, positions):
        streams = block.streams.without_views().only(model.streams)
        for part in torch.split(inside, EVALUATION_ROWS):
            found.append(predict_logits(model, streams.rows(part)))
    return torch.cat(found) if found else rows.targets[:0]


@dataclass(frozen=True)
class Validation:
    """Scores of rows that choose an epoch: BCE per cell, and micro-F1 at 0.5."""

    loss: float
    f1: float


def validate(model: StreamModel, rows: Rows, positions: torch.Tensor) -> Validation:
    """Score a model on rows, in evaluation mode."""
    logits, targets = predict_rows(model, rows, positions), rows.targets[positions]
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    chosen, true = logits >= 0, targets > 0.5
    hits = int((chosen & true).sum())
    return Validation(float(loss), 2 * hits / max(1, int(chosen.sum()) + int(true.sum())))
