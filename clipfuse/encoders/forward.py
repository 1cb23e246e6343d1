"""The forward pass that all backends share: device, precision, shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from clipfuse.encoders.spec import Precision
from clipfuse.memory import keep_freed_memory

Compute = Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]


class ForwardPass:
    """Runs ``compute`` without gradients on ``device`` in ``precision``.

    bfloat16 is autocast over float32 weights: norms and softmax stay in float32. The modules are put on the device and
    in evaluation mode.
    """

    def __init__(self, compute: Compute, modules: Sequence[torch.nn.Module], device: str, precision: Precision) -> None:
        self._compute = compute
        self._device = torch.device(device)
        self._precision = precision
        if self._device.type == "cpu":
            keep_freed_memory()
        self._modules = [module.eval().requires_grad_(requires_grad=False).to(self._device) for module in modules]

    @torch.inference_mode()
    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Output -> (batch, tokens, dim) float32 on the CPU."""
        moved = {name: value.to(self._device, non_blocking=True) for name, value in batch.items()}
        with self._autocast():
            outputs = self._compute(moved)
        return {
            name: (value if value.ndim == 3 else value.unsqueeze(1)).float().cpu() for name, value in outputs.items()
        }

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "bfloat16":
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()
