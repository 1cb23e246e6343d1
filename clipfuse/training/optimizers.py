"""Optimisers of members: models of one shape that are trained together, each with its own rate and decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from clipfuse.train_config import FitConfig

FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})
"""Where torch has one kernel for a whole step of Adam."""


def make_optimizer(members: Sequence[nn.Module], configs: Sequence[FitConfig]) -> torch.optim.Optimizer:
    """One optimiser for all ``members``; each is trained as it would be alone.

    Each parameter group belongs to one member, whose index is its ``"member"``. Weights are decayed in matrices only:
    biases, norms and gains are left alone.

    Args:
        members: on their device; parameters that need no gradient are left out.
        configs: learning_rate and weight_decay of each member; their optimizer must be the same.

    Raises:
        ValueError: several kinds of optimiser, not one configuration a member, or nothing to train.
    """
    kinds = {config.optimizer for config in configs}
    if len(kinds) != 1:
        raise ValueError(f"members that train together share one optimiser, not {sorted(kinds)}")
    groups = [
        group
        for index, (member, config) in enumerate(zip(members, configs, strict=True))
        for group in _groups(member, config, index)
    ]
    kind = kinds.pop()
    if kind == "adafactor":
        from transformers import Adafactor

        # the rate is the schedule's: neither scaled by the size of the weights nor by the number of the step
        adafactor: torch.optim.Optimizer = Adafactor(
            groups, lr=configs[0].learning_rate, scale_parameter=False, relative_step=False, warmup_init=False
        )
        return adafactor
    # None and not False: where there is no such kernel torch chooses the next best
    fused = all(p.device.type in FUSED_DEVICES for group in groups for p in group["params"]) or None
    if kind == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.Adam(groups, fused=fused)


def clip(members: Sequence[nn.Module], norm: float) -> torch.Tensor:
    """Shorten the gradient of each member to ``norm``, where it is longer.

    Returns:
        (members,), the lengths before.
    """
    return torch.stack([nn.utils.clip_grad_norm_(member.parameters(), norm) for member in members])


def _groups(member: nn.Module, config: FitConfig, index: int) -> list[dict[str, Any]]:
    trained = [parameter for parameter in member.parameters() if parameter.requires_grad]
    split = [
        ([p for p in trained if p.ndim >= 2], config.weight_decay),
        ([p for p in trained if p.ndim < 2], 0.0),
    ]
    return [
        {"params": parameters, "lr": config.learning_rate, "weight_decay": decay, "member": index}
        for parameters, decay in split
        if parameters
    ]
