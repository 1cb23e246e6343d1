"""What a chosen fusion is called, reads and is made of, whichever registry it stands in."""

from __future__ import annotations

from collections.abc import Sequence

from clipfuse.errors import UnknownName
from clipfuse.fusions.combiners import COMBINERS
from clipfuse.fusions.joined import SINGLE
from clipfuse.fusions.kinds import FUSIONS
from clipfuse.fusions.stacked import STACKED, combiner_of, part_names
from clipfuse.registry import did_you_mean
from clipfuse.train_config import FusionConfig


def fusion_names() -> tuple[str, ...]:
    """Everything that --fusion takes."""
    return (*FUSIONS, *STACKED)


def check_fusion(config: FusionConfig) -> None:
    """Make sure that there is such a fusion and that it has such settings. Raises UnknownName, ConfigError."""
    if config.kind in STACKED:
        COMBINERS.settings(combiner_of(config))
    elif config.kind in FUSIONS:
        FUSIONS.settings(config)
    else:
        raise UnknownName(f"unknown fusion {config.kind!r}", did_you_mean(config.kind, fusion_names()))


def modalities_read(config: FusionConfig, available: Sequence[str]) -> tuple[str, ...]:
    """Which of the ``available`` modalities the fusion reads, in their order."""
    if config.kind in STACKED:
        parts = part_names(config, available)
        return tuple(name for name in available if name in parts or not set(parts) <= set(SINGLE))
    return (config.kind,) if config.kind in SINGLE else tuple(available)
