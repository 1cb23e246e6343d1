"""How many labels that were flipped on purpose ``clipfuse doctor`` finds, and in how many seconds.

Two ways to flip 5%: of all cells alike, so that most flips add a rare label; and of each label's own rows, as many
given to others, so that every label stays as frequent as it is. What the data itself has wrong is not known: it counts
against the precision.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import add_cache_options, open_cache, parser, report
from numpy.typing import NDArray

from clipfuse.doctor.out_of_fold import ask_folds, default_config
from clipfuse.doctor.wrong_labels import find_suspects
from clipfuse_cache import FeatureCache, Samples

SHARE = 0.05


def main() -> None:
    options = parser(__doc__ or "")
    add_cache_options(options)
    options.add_argument("--folds", type=int, default=5)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.folds = 60, 2
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(chosen, Path(folder))
        samples = cache.samples()
        ways: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
            "nothing": np.zeros_like,
            "cells": of_cells,
            "of each label": of_labels,
        }
        rows = [measure(cache, samples, name, flip, chosen.folds) for name, flip in ways.items()]
    report("doctor", chosen, rows, {"folds": chosen.folds, "rows of the cache": len(samples)})


def of_cells(labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """5% of all cells."""
    return np.asarray(np.random.default_rng(0).random(labels.shape) < SHARE)


def of_labels(labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """5% of the rows of each label, and as many others."""
    rng, flips = np.random.default_rng(0), np.zeros_like(labels)
    for label in range(labels.shape[1]):
        count = round(SHARE * labels[:, label].sum())
        for side in (True, False):
            rows = np.flatnonzero(labels[:, label] == side)
            flips[rng.choice(rows, min(count, len(rows)), replace=False), label] = True
    return flips


def measure(
    cache: FeatureCache, samples: Samples, name: str, flip: Callable[[NDArray[np.bool_]], NDArray[np.bool_]], folds: int
) -> dict[str, Any]:
    """Flip, train, look; the cache on disk stays as it is."""
    assert samples.labels is not None
    flips = flip(samples.labels)
    given = samples.labels ^ flips
    flipped = replace(samples, labels=given)
    started = time.perf_counter()
    asked = ask_folds(cache, flipped, default_config(cache, flipped), folds=folds)
    found = find_suspects(asked.probabilities, given)
    seconds = time.perf_counter() - started
    hits = found.cells & flips
    worst = np.argsort(np.where(found.cells, found.confidence, 1), axis=None, kind="stable")[:500]
    return {
        "flipped": name,
        "cells": flips.size,
        "flips": int(flips.sum()),
        "suspect": int(found.cells.sum()),
        "precision": float(hits.sum() / max(1, found.cells.sum())),
        "of the worst 500": float(flips.ravel()[worst].mean()),
        "recall": float(hits.sum() / max(1, flips.sum())),
        "recall, removed": float((hits & ~given).sum() / max(1, (flips & ~given).sum())),
        "recall, added": float((hits & given).sum() / max(1, (flips & given).sum())),
        "s": seconds,
    }


if __name__ == "__main__":
    main()
