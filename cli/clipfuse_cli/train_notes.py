"""What train-head says on stderr before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipfuse_cli.console import note

if TYPE_CHECKING:
    from clipfuse.data.split import Split
    from clipfuse.remembered_rows import LoadRows
    from clipfuse.train_config import TrainConfig
    from clipfuse_cache import FeatureCache, Samples


def say_what_is_special(
    config: TrainConfig,
    cache: FeatureCache,
    samples: Samples,
    split: Split,
    device: str,
    load: LoadRows,
    *,
    trainings: int,
) -> None:
    """What an estimator does to features that it can't read as they are, and how long it will take where that is
    long, from the rows that ``load`` reads; ``trainings``: how often it is fitted, with other seeds or folds."""
    from clipfuse.baselines import BASELINES
    from clipfuse.models import heads_of
    from clipfuse.slow_fits import find_slow_fit

    words = {"text"} if config.features != "embeddings" else set()
    for fusion, head in heads_of(config).items():
        if head.kind in BASELINES and BASELINES.get(head.kind).unit and fusion not in words:
            note(f"{head.kind} reads nothing below zero: features are scaled to 0 to 1, by the training rows")
    slow = find_slow_fit(cache, samples, split, config, device=device, load=load, trainings=trainings)
    if slow is not None:
        times = f"{trainings} times " if trainings > 1 else ""
        took = _duration(slow.seconds)
        note(f"{slow.head} {times}on {slow.rows:,} rows will take about {took}; {slow.faster} is much faster")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
