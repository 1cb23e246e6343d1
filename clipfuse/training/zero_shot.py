"""Where zero-shot heads start: label vectors from the text, scale and offset from the training rows."""

from __future__ import annotations

import torch
from torch import nn

from clipfuse.errors import TrainingError
from clipfuse.heads import ZeroShotHead
from clipfuse.model_inputs import JointModel
from clipfuse.training.rows import Rows, wanted

_STEPS = 50
_LONGEST_STEP = 2.0
_RIDGE = 1e-2


def start_zero_shot(model: nn.Module, rows: Rows, train: torch.Tensor) -> None:
    """Start every zero-shot head of a model, where it has any.

    Args:
        model: fresh.
        rows: their ``label_vectors`` hold the stream that the head reads.
        train: (n,) int64 positions of the training rows, rising.
    """
    for joint in model.modules():
        head = getattr(joint.fusion, "head", None) if isinstance(joint, JointModel) else None
        if not isinstance(head, ZeroShotHead) or not isinstance(joint, JointModel):
            continue
        stream = joint.streams[0]
        if stream not in rows.label_vectors:
            raise TrainingError(f"head zero-shot has no vectors of the labels for stream {stream}")
        with torch.no_grad():
            head.label_vectors.copy_(rows.label_vectors[stream])
            cosines, targets = _training_cosines(head, stream, rows, train)
            if len(head.scale) == 1:
                cosines, targets = cosines.reshape(-1, 1), targets.reshape(-1, 1)
            scale, offset = fit_platt(cosines, targets)
            head.scale.copy_(scale)
            head.offset.copy_(offset)


def fit_platt(scores: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and offset of each column under which sigmoid(scale · score + offset) fits best.

    Platt 1999, "Probabilistic Outputs for Support Vector Machines": targets are drawn in by a row of either kind, so
    that a column without positives, or one that is told apart without error, has an answer. Newton's method. Unlike
    what ``clipfuse.calibration`` fits, scores are in units of their own: there is no temperature that columns could be
    drawn toward, and a scale may be below 0.

    Args:
        scores: (rows, columns).
        targets: (rows, columns), above 0.5 where true.

    Returns:
        (columns,) float64 each.
    """
    z, truth = scores.double(), targets > 0.5
    mean, deviation = z.mean(0), z.std(0, correction=0).clamp(min=1e-6)
    z = (z - mean) / deviation
    positives = truth.sum(0)
    negatives = len(z) - positives
    wanted = torch.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, level = torch.zeros_like(mean), torch.logit(wanted.mean(0))
    for _ in range(_STEPS):
        said = torch.sigmoid(slope * z + level)
        excess, weight = said - wanted, said * (1 - said)
        to_slope, to_level = (excess * z).sum(0) + _RIDGE * slope, excess.sum(0)
        a, b, c = (weight * z * z).sum(0) + _RIDGE, (weight * z).sum(0), weight.sum(0) + _RIDGE
        determinant = a * c - b * b
        steps = torch.stack([c * to_slope - b * to_level, a * to_level - b * to_slope]) / determinant
        slope = slope - steps[0].clamp(-_LONGEST_STEP, _LONGEST_STEP)
        level = level - steps[1].clamp(-_LONGEST_STEP, _LONGEST_STEP)
    return slope / deviation, level - slope * mean / deviation


def _training_cosines(
    head: ZeroShotHead, stream: str, rows: Rows, train: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, labels) cosines and targets of the training rows that have the input."""
    cosines, targets = [], []
    for block, inside in wanted(rows, train):
        for part in torch.split(inside[block.streams.present[stream][inside]], 4096):
            cosines.append(head.cosines(block.streams.values[stream][part]))
            targets.append(rows.targets[part + block.start])
    if not any(map(len, cosines)):
        raise TrainingError(f"head zero-shot has no training row with stream {stream}")
    return torch.cat(cosines), torch.cat(targets)
