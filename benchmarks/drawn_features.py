"""Features and labels drawn from a model, for speed where no pictures are needed.

A row has a few of the labels, which go together by topic. Its picture and its caption each show most of them: features
are a random two-layer network of the shown labels and noise, so that a linear head does worse than a deep one and both
modalities together do better than each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


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


def _show(rng: np.random.Generator, targets: np.ndarray, dim: int, *, seen: float, noise: float) -> torch.Tensor:
    rows, labels = targets.shape
    shown = targets * (rng.random(targets.shape) < seen)
    inner = np.concatenate([shown, rng.standard_normal((rows, 32)).astype(np.float32) * noise], axis=1)
    first = rng.standard_normal((labels + 32, 256)).astype(np.float32) / 2.5
    second = rng.standard_normal((256, dim)).astype(np.float32) / 16
    hidden = np.tanh(inner.astype(np.float32) @ first)
    found = hidden @ second + rng.standard_normal((rows, dim)).astype(np.float32) * 0.15
    return torch.from_numpy(found.astype(np.float16))[:, None]
