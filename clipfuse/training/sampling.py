"""Which rows an epoch draws: each once, or rare labels more often and frequent ones less."""

from __future__ import annotations

import torch


def row_chances(targets: torch.Tensor, oversample: float | None, undersample: float | None) -> torch.Tensor | None:
    """How often each row is drawn, beside a row that counts 1.

    With f the share of rows that have the rarest of a row's labels: oversampling draws it max(1, sqrt(oversample / f))
    times, the repeat factors of Gupta, Dollár and Girshick (2019, LVIS); undersampling min(1, sqrt(undersample / f))
    times. A row without a label counts 1.

    Args:
        targets: (rows, labels); above one half a row has the label.
        oversample, undersample: shares of rows.

    Returns:
        (rows,) float64, above 0; None where neither is asked for.
    """
    if oversample is None and undersample is None:
        return None
    has = targets > 0.5
    shares = has.double().mean(0)
    rarest = torch.where(has, shares, torch.inf).amin(1)
    chances = torch.ones_like(rarest)
    if oversample is not None:
        chances *= (oversample / rarest).sqrt().clamp(min=1)
    if undersample is not None:
        unlabelled = rarest.isinf()
        chances *= (undersample / rarest).sqrt().clamp(max=1).masked_fill(unlabelled, 1)
    return chances


def draw(chances: torch.Tensor | None, rows: int, generator: torch.Generator) -> torch.Tensor:
    """The rows of one epoch, in order.

    Without chances each row comes once. With them a row comes n · chance / (sum of chances) times on average over
    epochs, and in each one that number rounded down or up (systematic sampling of the shuffled rows): less is left to
    luck than in independent draws, which miss a third of the rows in every epoch.

    Args:
        chances: (rows,), above 0, or None.
        rows: n.
        generator: its device is the result's.

    Returns:
        (n,) int64 positions.
    """
    order = torch.randperm(rows, generator=generator, device=generator.device)
    if chances is None:
        return order
    ends = chances.to(generator.device, torch.float64)[order].cumsum(0)
    start = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
    points = (start + torch.arange(rows, device=generator.device)) * (ends[-1] / rows)
    drawn = order[torch.searchsorted(ends, points, right=True).clamp(max=rows - 1)]  # the last may round to the end
    return drawn[torch.randperm(rows, generator=generator, device=generator.device)]
