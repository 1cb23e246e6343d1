"""Learning rates over the steps of a fit."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import torch

from clipfuse.train_config import FitConfig


class LearningRates:
    """Sets the rate of each parameter group: the one that it came with, times a factor.

    The factor is the product of warm-up and schedule. In n steps of warm-up it rises through 1/(n+1) … n/(n+1), so
    that no step is lost at zero. The cosine falls over the steps after warm-up and would be zero one step after the
    last; with several cycles each is a cosine of its own, over its epochs. Milestones are shares of all steps.

    Args:
        optimizer: made by ``make_optimizer``: its groups know their member. The rates of the first step are set.
        config: schedule, cycles, warmup, milestones, step_factor, plateau_epochs and epochs, the same for all members.
        steps_per_epoch: at least 1.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: FitConfig, steps_per_epoch: int) -> None:
        self.optimizer = optimizer
        self.config = config
        self.bases: list[float] = [float(group["lr"]) for group in optimizer.param_groups]
        self.steps = config.epochs * steps_per_epoch
        self.warmup = min(int(config.warmup * self.steps), self.steps - 1)
        self.milestones = [round(share * self.steps) for share in config.milestones]
        self.plateaus: dict[int, Plateau] = {
            group["member"]: Plateau(config.plateau_epochs, config.step_factor) for group in optimizer.param_groups
        }
        self.cycles = [epoch * steps_per_epoch for epoch in (0, *cycle_ends(config))]
        self.done = 0
        self._set()

    def step(self) -> None:
        """Call after each step of the optimiser."""
        self.done += 1
        self._set()

    def end_epoch(self, losses: Sequence[float | None]) -> None:
        """Call after each epoch with each member's validation loss (without validation: its training loss).

        Only plateau takes notice. None is for a member that is not trained any more.
        """
        if self.config.schedule != "plateau":
            return
        for member, plateau in self.plateaus.items():
            loss = losses[member]
            if loss is not None:
                plateau.end_epoch(loss)
        self._set()

    def factor(self, member: int) -> float:
        """What the rates of this member are multiplied with in the coming step."""
        warm = min(1.0, (self.done + 1) / (self.warmup + 1))
        match self.config.schedule:
            case "cosine":
                cycle = min(bisect_right(self.cycles, self.done), len(self.cycles) - 1)
                start, stop = max(self.cycles[cycle - 1], self.warmup), self.cycles[cycle]
                part = max(0, self.done - start) / max(1, stop - start)
                return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
            case "multi-step":
                return warm * self.config.step_factor ** sum(self.done >= milestone for milestone in self.milestones)
            case "plateau":
                return warm * self.plateaus[member].factor
            case "constant":
                return warm

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * self.factor(group["member"])


def cycle_ends(config: FitConfig) -> list[int]:
    """The last epoch of each cosine cycle, counted from 1."""
    cycles = min(config.cycles, config.epochs)
    return [-(-config.epochs * n // cycles) for n in range(1, cycles + 1)]


class Plateau:
    """A factor that falls when a loss has not fallen below its lowest for ``epochs`` epochs; then it counts anew."""

    def __init__(self, epochs: int, step_factor: float) -> None:
        self.epochs = epochs
        self.step_factor = step_factor
        self.factor = 1.0
        self.lowest = math.inf
        self.since = 0

    def end_epoch(self, loss: float) -> None:
        """Take notice of the loss after one more epoch."""
        if loss < self.lowest:
            self.lowest, self.since = loss, 0
            return
        self.since += 1
        if self.since == self.epochs:
            self.factor *= self.step_factor
            self.since = 0
