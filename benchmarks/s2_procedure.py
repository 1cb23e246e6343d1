"""S2's own procedure, written as its report describes it: the peer that stage two races against.

Guo, "Multimodal Multilabel Classification by CLIP": rows collated one by one by a DataLoader, all of them in one batch;
image head, text head, meta-classifier, one after the other; Adam 1e-3, decay 2e-4 on matrices only, 200 epochs, sigmoid
then BCE summed over the batch; the meta-classifier learns from the heads' outputs on their own training rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

EPOCHS = 200


class _Rows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, features: torch.Tensor, targets: torch.Tensor) -> None:
        self.features, self.targets = features, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.features[row], self.targets[row]


def head(dim: int, labels: int) -> nn.Sequential:
    """d-2048-512-L, GELU, dropout .6."""
    return nn.Sequential(
        nn.Linear(dim, 2048),
        nn.GELU(),
        nn.Dropout(0.6),
        nn.Linear(2048, 512),
        nn.GELU(),
        nn.Dropout(0.6),
        nn.Linear(512, labels),
    )


def meta(labels: int) -> nn.Sequential:
    """L-1024-512-L, GELU."""
    return nn.Sequential(nn.Linear(labels, 1024), nn.GELU(), nn.Linear(1024, 512), nn.GELU(), nn.Linear(512, labels))


@dataclass(frozen=True)
class S2Result:
    """Seconds of the epochs that were run, and probabilities of the validation rows."""

    seconds: float
    epochs: int
    probabilities: torch.Tensor

    @property
    def seconds_of_200_epochs(self) -> float:
        """All epochs cost the same."""
        return self.seconds * EPOCHS / self.epochs


def run_s2(
    image: torch.Tensor, text: torch.Tensor, targets: torch.Tensor, rows: int, *, epochs: int, seed: int = 0
) -> S2Result:
    """Train on the first ``rows`` rows of (n, dim) float32 features; the others are validation."""
    torch.manual_seed(seed)
    labels = targets.shape[1]
    started = time.perf_counter()
    outputs = []
    for features in (image, text):
        model = head(features.shape[1], labels)
        _train(model, features[:rows], targets[:rows], epochs)
        model.eval()
        with torch.no_grad():
            outputs.append(torch.sigmoid(model(features)))
    summed = outputs[0] + outputs[1]
    top = meta(labels)
    _train(top, summed[:rows], targets[:rows], epochs)
    seconds = time.perf_counter() - started
    top.eval()
    with torch.no_grad():
        return S2Result(seconds, epochs, torch.sigmoid(top(summed[rows:])))


def _train(model: nn.Module, features: torch.Tensor, targets: torch.Tensor, epochs: int) -> None:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.Adam(
        [{"params": matrices, "weight_decay": 2e-4}, {"params": others, "weight_decay": 0.0}], lr=1e-3
    )
    loss = nn.BCELoss(reduction="sum")
    loader = DataLoader(_Rows(features, targets), batch_size=len(targets), shuffle=True)
    model.train()
    for _ in range(epochs):
        for batch, truth in loader:
            optimizer.zero_grad()
            loss(torch.sigmoid(model(batch)), truth).backward()
            optimizer.step()
