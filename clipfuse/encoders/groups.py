"""A model's last layer reduced to K groups: pictures by cells of a grid, captions by runs of their tokens."""

from __future__ import annotations

import math
from typing import Any

import torch

from clipfuse.errors import EncoderError


def grid_of(groups: int) -> tuple[int, int]:
    """(rows, columns) of the grid with so many cells that is nearest to a square, lying: 6 is 2 x 3, 7 is 1 x 7."""
    rows = next(n for n in range(math.isqrt(groups), 0, -1) if groups % n == 0)
    return rows, groups // rows


def pool_cells(maps: torch.Tensor, groups: int) -> torch.Tensor:
    """Average of each cell of a grid over the map, in reading order.

    Args:
        maps: (batch, dim, height, width).
        groups: number of cells. Of a map that is smaller than the grid, neighbouring cells share places.

    Returns:
        (batch, groups, dim) float32.
    """
    return torch.nn.functional.adaptive_avg_pool2d(maps.float(), grid_of(groups)).flatten(2).transpose(1, 2)


def pool_places(network: Any, states: torch.Tensor, groups: int) -> torch.Tensor:
    """A picture's last layer in ``groups`` cells.

    Args:
        network: a timm model, or open_clip's transformer for pictures.
        states: (batch, dim, height, width); (batch, height, width, dim) where the network says so; or
            (batch, places, dim), the patches in reading order after whatever else the network keeps among them.
        groups: number of cells.

    Returns:
        (batch, groups, dim) float32.

    Raises:
        EncoderError: the last layer is nothing of this kind.
    """
    if not isinstance(states, torch.Tensor) or states.ndim not in (3, 4):
        raise EncoderError("its last layer is no map and no sequence of patches")
    if states.ndim == 4:
        last = str(getattr(network, "output_fmt", "NCHW")) == "NHWC"
        return pool_cells(states.permute(0, 3, 1, 2) if last else states, groups)
    grid = getattr(network, "grid_size", None) or getattr(getattr(network, "patch_embed", None), "grid_size", None)
    places = states.shape[1]
    if grid is None or math.prod(grid) > places:
        raise EncoderError(f"its last layer has {places} places, which are no grid that clipfuse knows")
    patches = states[:, places - math.prod(grid) :]
    return pool_cells(patches.transpose(1, 2).reshape(len(patches), -1, *grid), groups)


def pool_runs(states: torch.Tensor, own: torch.Tensor, groups: int) -> torch.Tensor:
    """Adaptive average pooling over a caption's own tokens, whatever stands beside them.

    Run g of n tokens holds those from floor(g * n / groups) up to ceil((g + 1) * n / groups): equal runs, which share
    tokens where n is not a multiple, and repeat them where the caption is shorter than ``groups``.

    Args:
        states: (batch, tokens, dim).
        own: (batch, tokens), nonzero for the caption's own tokens; at least one in each row.
        groups: number of runs.

    Returns:
        (batch, groups, dim) float32.
    """
    place = (own.cumsum(1) - 1).unsqueeze(1)
    length = own.sum(1).clamp(min=1).reshape(-1, 1, 1)
    group = torch.arange(groups, device=own.device).reshape(1, -1, 1)
    start = torch.div(group * length, groups, rounding_mode="floor")
    end = torch.div((group + 1) * length + groups - 1, groups, rounding_mode="floor")
    share = ((place >= start) & (place < end) & own.bool().unsqueeze(1)).float() / (end - start)
    with torch.autocast(states.device.type, enabled=False):
        return share @ states.float()
