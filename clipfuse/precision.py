"""What a forward pass computes in, where nobody says it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from clipfuse.encoders import EncoderFactory, EncoderSpec, Modality, Precision, Storage
from clipfuse.machine import has_bfloat16
from clipfuse.probe import default_batch_size, typical_batch
from clipfuse_cache import FeatureCache

WORTH_SECONDS = 60.0
"""A shorter extraction on a processor is not worth finding out about: it stays float32."""
CLEARLY_FASTER = 1.3


def settle_precision(
    factory: EncoderFactory,
    specs: Sequence[EncoderSpec],
    rows: Mapping[Modality, int],
    cache: FeatureCache,
    storage: Storage,
    device: str,
    *,
    alone: bool,
) -> list[EncoderSpec]:
    """``specs`` (of one factory) with a precision each that stays as it is once a table has been begun with it.

    A table that the cache holds or that was begun there decides. Else a GPU takes bfloat16; a processor takes
    float32, unless ``rows`` are many and bfloat16, which some have instructions for, is measured to be clearly
    faster. Measurements differ, so workers that are not ``alone`` make none.
    """
    settled = [_begun(spec, cache, storage) for spec in specs]
    if device != "cpu":
        return [found or replace(spec, precision="bfloat16") for found, spec in zip(settled, specs, strict=True)]
    open_ = [spec for found, spec in zip(settled, specs, strict=True) if found is None]
    faster: set[Modality] = set()
    if open_ and alone and has_bfloat16("cpu"):
        exact = _seconds_per_row(factory, open_, "float32")
        slow = [spec for spec in open_ if exact[spec.modality] * rows[spec.modality] > WORTH_SECONDS]
        if slow:
            rough = _seconds_per_row(factory, slow, "bfloat16")
            faster = {name for name, seconds in rough.items() if seconds * CLEARLY_FASTER < exact[name]}
    return [
        found or replace(spec, precision="bfloat16" if spec.modality in faster else "float32")
        for found, spec in zip(settled, specs, strict=True)
    ]


def _begun(spec: EncoderSpec, cache: FeatureCache, storage: Storage) -> EncoderSpec | None:
    for precision in get_args(Precision):
        candidate = replace(spec, precision=precision)
        if any(cache.has_begun(candidate.fingerprint(output, storage)) for output in spec.outputs):
            return candidate
    return None


def _seconds_per_row(
    factory: EncoderFactory, specs: Sequence[EncoderSpec], precision: Precision
) -> dict[Modality, float]:
    """The best of three forward passes after one that warms up."""
    found: dict[Modality, float] = {}
    for encoder in factory.load("cpu", [replace(spec, precision=precision) for spec in specs]):
        rows = default_batch_size(encoder.spec.pixels)
        batch = typical_batch(encoder, rows)
        encoder.encode(batch)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            encoder.encode(batch)
            seconds.append(time.perf_counter() - started)
        found[encoder.spec.modality] = min(seconds) / rows
    return found
