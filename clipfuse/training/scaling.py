"""Fitting the scalers of models on the rows that train them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from clipfuse.model_inputs import ModelInputs
from clipfuse.scaler import Moments
from clipfuse.training.rows import Rows, wanted


def stream_moments(rows: Rows, positions: torch.Tensor) -> dict[str, Moments]:
    """Stream -> mean and deviations over the rows at ``positions`` that have it; all tokens count alike."""
    found = {name: Moments(dim, rows.targets.device) for name, dim in rows.dims.items()}
    for block, inside in wanted(rows, positions):
        for name, values in block.streams.values.items():
            for part in torch.split(inside[block.streams.present[name][inside]], 4096):
                found[name].add(values[part].flatten(0, 1))
    return found


def set_scalers(models: Sequence[nn.Module], moments: dict[str, Moments]) -> None:
    """Give every scaler of the models that is to scale its stream's mean and deviation."""
    for model in models:
        for module in model.modules():
            if isinstance(module, ModelInputs):
                for name in module.scaled:
                    module.scaler(name).take(moments[name])
