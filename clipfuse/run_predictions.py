"""What a run keeps of its model's predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.split import ROLES
from clipfuse.labelled_rows import LabelledRows
from clipfuse.predictions import Predictions
from clipfuse.training.train_models import Fitted


def kept_predictions(said: NDArray[np.float64], rows: LabelledRows, fitted: Fitted) -> Predictions:
    """Probabilities of every row of the split, and what models said of training rows that they had not seen.

    Args:
        said: (rows of the split, labels), by the model before any refit.
        rows: those of the split first; what comes after them is not looked at.
        fitted: how it was trained, on the split's training rows first.
    """
    count = len(rows.ids)
    index = {role: positions.cpu().numpy() for role, positions in rows.index.items()}
    train = index["train"]
    roles = np.zeros(count, dtype=np.uint8)
    for number, role in enumerate(ROLES):
        roles[index[role]] = number
    targets = rows.rows.targets[:count].cpu().numpy() > 0.5
    kept = np.full((count, len(fitted.out_of_fold), targets.shape[1]), np.nan, dtype=np.float32)
    fold_of = np.full(count, -1, dtype=np.int16)
    if fitted.out_of_fold:
        fold_of[train] = fitted.fold_of[: len(train)]
        for n, part in enumerate(fitted.out_of_fold.values()):
            kept[train, n] = part[: len(train)].cpu().numpy()
    return Predictions(rows.ids, roles, targets, said.astype(np.float32), fold_of, tuple(fitted.out_of_fold), kept)
