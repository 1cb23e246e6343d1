"""Rows that lose a modality while training, so that the model learns what to say without it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from clipfuse.streams import modality_of


def drop_modalities(
    present: Mapping[str, torch.Tensor], chance: float, generator: torch.Generator
) -> Mapping[str, torch.Tensor]:
    """{stream: (...) bool}: with this chance a row that has several modalities loses one of them, each as likely.

    Neverova et al. 2016, "ModDrop"; here a row never loses its last modality.
    """
    modalities = list(dict.fromkeys(map(modality_of, present)))
    if chance == 0 or len(modalities) < 2:
        return present
    there = torch.stack(
        [torch.stack([x for name, x in present.items() if modality_of(name) == one]).any(0) for one in modalities]
    )
    draws = torch.rand((2, *there.shape[1:]), generator=generator).to(there.device)
    count = there.sum(0)
    loses = (draws[0] < chance) & (count > 1)
    which = (draws[1] * count).long().clamp(max=count - 1)  # the which-th of those that are there
    lost = there & (there.cumsum(0) - 1 == which) & loses
    return {name: x & ~lost[modalities.index(modality_of(name))] for name, x in present.items()}
