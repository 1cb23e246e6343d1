"""How long a training will take, where an estimator's cost grows faster than the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from clipfuse.baselines import BASELINES
from clipfuse.data.split import Split
from clipfuse.inputs import no_progress
from clipfuse.labelled_rows import load_rows
from clipfuse.models import heads_of
from clipfuse.remembered_rows import LoadRows
from clipfuse.select_streams import select_streams
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, train_jobs
from clipfuse.training.rows import RowsInMemory
from clipfuse_cache import FeatureCache, Samples

SAMPLE_ROWS = 1200
"""Training rows that the time is taken on; half of them before."""
SLOW_SECONDS = 30.0
"""From here on a training counts as slow."""


@dataclass(frozen=True)
class SlowFit:
    """A training that will take long.

    Attributes:
        head: the estimator that is to blame.
        faster: another one of its kind.
        rows: training rows.
        seconds: of all trainings, about: extrapolated from the times on two samples, by a power of the rows.
    """

    head: str
    faster: str
    rows: int
    seconds: float


def find_slow_fit(
    cache: FeatureCache,
    samples: Samples,
    split: Split,
    config: TrainConfig,
    *,
    device: str = "cpu",
    load: LoadRows = load_rows,
    trainings: int = 1,
) -> SlowFit | None:
    """Whether training takes long because of an estimator that has a faster sibling; None where it does not, or where
    there are too few rows for it to. ``trainings``: how many of its kind there are to be; the other arguments and
    errors are those of ``train_head``."""
    kinds = [head.kind for head in heads_of(config).values() if head.kind in BASELINES]
    slow = next((kind for kind in kinds if BASELINES.get(kind).faster is not None), None)
    train = split.roles["train"]
    if slow is None or len(train) < 2 * SAMPLE_ROWS:
        return None
    draw = np.random.default_rng(config.seed)
    chosen = np.sort(draw.choice(len(train), SAMPLE_ROWS, replace=False))
    every = load(select_streams(cache, config), samples, split, device, memory_gb=config.memory_gb)
    places = every.index["train"][torch.from_numpy(chosen).to(device)]
    groups = None if every.rows.groups is None else every.rows.groups[places.cpu().numpy()]
    rows = RowsInMemory(every.some(places), every.rows.targets[places], groups=groups)
    half = np.sort(draw.choice(SAMPLE_ROWS, SAMPLE_ROWS // 2, replace=False))
    seconds = []
    for some in (half, np.arange(SAMPLE_ROWS)):
        job = Job(config, {"train": torch.from_numpy(some).to(device)})
        seconds.append(train_jobs([job], rows, no_progress)[0].seconds)
    power = min(max(math.log2(seconds[1] / seconds[0]), 1.0), 3.0)
    expected = trainings * seconds[1] * (len(train) / SAMPLE_ROWS) ** power
    faster = BASELINES.get(slow).faster
    if expected < SLOW_SECONDS or faster is None:
        return None
    return SlowFit(slow, faster, len(train), expected)
