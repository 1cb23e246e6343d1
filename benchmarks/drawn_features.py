"""Features and labels drawn from a model, for speed where no pictures are needed.

A row has a few of the labels, which go together by topic. Its picture and its caption each show most of them: features
are a random two-layer network of the shown labels and noise, so that a linear head does worse than a deep one and both
modalities together do better than each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from clipfuse.fusions import StackedFusion
from clipfuse.model_inputs import JointModel
from clipfuse.models import build_model
from clipfuse.streams import Streams
from clipfuse.train_config import TrainConfig
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.train_models import Trainee, train_models


@dataclass(frozen=True)
class DrawnFeatures:
    """(rows, 1, dim) float16 features of two modalities and (rows, labels) float32 targets."""

    image: torch.Tensor
    text: torch.Tensor
    targets: torch.Tensor


def draw_features(rows: int, *, dim: int = 768, labels: int = 18, seed: int = 0) -> DrawnFeatures:
    """Draw ``rows`` rows."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(labels, 0.3), size=12) * 2.2
    person = rng.random((rows, 1)) < 0.6  # one label that most rows have, as in photographs
    chance = topics[rng.integers(12, size=rows)]
    targets = (rng.random((rows, labels)) < chance).astype(np.float32)
    targets[:, :1] = np.maximum(targets[:, :1], person)
    image = _show(rng, targets, dim, seen=0.9, noise=1.0)
    text = _show(rng, targets, dim, seen=0.8, noise=0.5)
    return DrawnFeatures(image, text, torch.from_numpy(targets))


def train_drawn(
    config: TrainConfig, streams: Mapping[str, torch.Tensor], targets: torch.Tensor, train: int, device: str
) -> tuple[JointModel | StackedFusion, RowsInMemory]:
    """A model trained on the first ``train`` rows; the others choose epochs. Also gives the rows as it reads them."""
    there = torch.ones(len(targets), dtype=torch.bool)
    features = Streams(dict(streams), dict.fromkeys(streams, there)).to(device)
    rows = RowsInMemory(features, targets.to(device))
    places = torch.arange(len(targets), device=device)
    dims = {name: values.shape[-1] for name, values in streams.items()}
    model = build_model(config, dims, targets.shape[1], seed=config.seed).to(device)
    train_models([Trainee(config, model, places[:train], places[train:])], rows, lambda _part, _record: None)
    return model, rows


def _show(rng: np.random.Generator, targets: np.ndarray, dim: int, *, seen: float, noise: float) -> torch.Tensor:
    rows, labels = targets.shape
    shown = targets * (rng.random(targets.shape) < seen)
    inner = np.concatenate([shown, rng.standard_normal((rows, 32)).astype(np.float32) * noise], axis=1)
    first = rng.standard_normal((labels + 32, 256)).astype(np.float32) / 2.5
    second = rng.standard_normal((256, dim)).astype(np.float32) / 16
    hidden = np.tanh(inner.astype(np.float32) @ first)
    found = hidden @ second + rng.standard_normal((rows, dim)).astype(np.float32) * 0.15
    return torch.from_numpy(found.astype(np.float16))[:, None]
