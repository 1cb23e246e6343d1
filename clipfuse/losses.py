"""What training makes small, cell by cell (row × label), from logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch.nn import functional

from clipfuse.kinds import Kinds
from clipfuse.settings import Settings

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits and targets in [0, 1], both of one shape, to the loss of each cell, in that shape and the logits' dtype.

The loss of a target between 0 and 1 is the mix of the losses of 1 and of 0 in that proportion. Value and gradient are
finite however large the logits are."""

LOSSES: Kinds[Loss] = Kinds("loss")
"""Makers: settings -> a loss."""


class BceSettings(Settings):
    """Binary cross-entropy has nothing to set."""


class FocalSettings(Settings):
    """Focal loss.

    Attributes:
        gamma_positive, gamma_negative: how much less a cell counts that is nearly right already, with the label and
            without it; 0 is BCE.
    """

    gamma_positive: float = Field(default=3.0, ge=0)
    gamma_negative: float = Field(default=3.0, ge=0)


class AsymmetricSettings(Settings):
    """Asymmetric loss.

    Attributes:
        gamma_positive, gamma_negative: as in the focal loss.
        clip: is taken off the probabilities of labels that a row does not have: below it they cost nothing.
    """

    gamma_positive: float = Field(default=1.0, ge=0)
    gamma_negative: float = Field(default=4.0, ge=0)
    clip: float = Field(default=0.05, ge=0, lt=1)


@LOSSES.register("bce", BceSettings)
def bce(_settings: BceSettings) -> Loss:
    """-log p with the label, -log(1 - p) without it."""
    return _bce


@LOSSES.register("focal", FocalSettings)
def focal(settings: FocalSettings) -> Loss:
    """BCE times (1 - p)^gamma with the label, p^gamma without it (Lin et al. 2017, without their alpha)."""
    return asymmetric(AsymmetricSettings(**settings.model_dump(), clip=0.0))


@LOSSES.register("asymmetric", AsymmetricSettings)
def asymmetric(settings: AsymmetricSettings) -> Loss:
    """Focal loss with max(p - clip, 0) for p where the label is absent (Ben-Baruch et al. 2021)."""
    positive, negative, clip = settings.gamma_positive, settings.gamma_negative, settings.clip

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        present = _focal(logits, positive)
        absent = _shifted_focal(logits, negative, clip) if clip else _focal(-logits, negative)
        return targets * present + (1 - targets) * absent

    return loss


def _bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _focal(logits: torch.Tensor, gamma: float) -> torch.Tensor:
    """-(1 - p)^gamma log p. The power is taken as an exponential: at 1 - p = 0 a power has no finite gradient."""
    return -torch.exp(gamma * functional.logsigmoid(-logits)) * functional.logsigmoid(logits)


def _shifted_focal(logits: torch.Tensor, gamma: float, clip: float) -> torch.Tensor:
    """-q^gamma log(1 - q) of q = max(p - clip, 0), and no gradient where q is 0."""
    shifted = torch.sigmoid(logits) - clip
    costs = shifted > 0
    q = torch.where(costs, shifted, 0.5)  # any number whose power and logarithm have finite gradients
    return torch.where(costs, -(q**gamma) * torch.log1p(-q), 0.0)
