"""Weights in fewer bytes: what a run keeps of its model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, get_args

import torch

Storage = Literal["float32", "float16", "int8"]

SCALE = ":scale"
"""Ends the name of the scales of an int8 matrix; no name of a weight has a colon."""
_HALF_MOST = torch.finfo(torch.float16).max


def pack(weights: Mapping[str, torch.Tensor], storage: Storage, exact: Collection[str]) -> dict[str, torch.Tensor]:
    """Weights as they are stored.

    float16 rounds every weight. int8 turns matrices (and everything of more dimensions) into whole numbers from -127 to
    127, times one float32 scale for each index of the first dimension: a linear layer's output row. The rest becomes
    float16. A weight that float16 can't hold stays as it is.

    Args:
        weights: name -> tensor; whole numbers stay.
        storage: what to store them in.
        exact: names that stay as they are: the buffers, scalers and batch norm's statistics.

    Raises:
        ValueError: an unknown storage.
    """
    if storage not in get_args(Storage):
        raise ValueError(f"storage should be one of {', '.join(get_args(Storage))}, not {storage!r}")
    packed: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        if storage == "float32" or name in exact or not value.is_floating_point():
            packed[name] = value
        elif storage == "int8" and value.ndim > 1 and value.numel():
            packed[name], packed[name + SCALE] = _to_int8(value)
        else:
            fits = bool((value.abs() <= _HALF_MOST).all())
            packed[name] = value.half() if fits else value
    return {name: value.contiguous() for name, value in packed.items()}


def unpack(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The opposite of :func:`pack`: name -> float32 (whole numbers stay)."""
    found = {}
    for name, value in packed.items():
        if name.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        if scale is not None:
            found[name] = value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
        else:
            found[name] = value.float() if value.is_floating_point() else value
    return found


def _to_int8(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers of the same shape, and (rows,) float32 scales; symmetric, so that 0 stays 0."""
    scale = value.float().flatten(1).abs().amax(1) / 127
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    rounded = (value.float() / safe.reshape(-1, *[1] * (value.ndim - 1))).round().clamp(-127, 127)
    return rounded.to(torch.int8), scale
