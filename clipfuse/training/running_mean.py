"""Running means of weights over the steps of a fit (EMA)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class RunningMean:
    """Exponential moving mean of what members hold: trained parameters and buffers of floats, such as batch norm's.

    The weights that training began with would weigh too much in a short fit, so step t (from 1) decays by no more
    than (1 + t) / (10 + t), as TensorFlow's ExponentialMovingAverage does with its num_updates.

    Args:
        members: on their device; what they hold is finite.
        decay: part of the mean that is kept in a step.
    """

    def __init__(self, members: Sequence[nn.Module], decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._held = [tensor for member in members for tensor in _averaged(member)]
        self._means = [tensor.clone() for tensor in self._held]

    @torch.no_grad()
    def update(self) -> None:
        """Call after each step of the optimiser."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        if self._held:
            torch._foreach_lerp_(self._means, self._held, 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """While it lasts the members hold the means; then what they held before, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def keep(self) -> None:
        """The members hold the means from now on; for the end of training."""
        for held, mean in zip(self._held, self._means, strict=True):
            held.copy_(mean)

    @torch.no_grad()
    def _swap(self) -> None:
        """Values change places, tensors don't: the optimiser and views know the members' tensors."""
        for held, mean in zip(self._held, self._means, strict=True):
            before = held.clone()
            held.copy_(mean)
            mean.copy_(before)


def _averaged(member: nn.Module) -> list[torch.Tensor]:
    trained = [parameter.detach() for parameter in member.parameters() if parameter.requires_grad]
    return trained + [buffer for buffer in member.buffers() if buffer.is_floating_point()]
