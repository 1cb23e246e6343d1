"""A sum of the streams whose weights each row chooses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import nn

from clipfuse.fusions.kinds import FUSIONS, MakeHead, Values
from clipfuse.settings import Settings


class GatedSettings(Settings):
    """What can be set of ``GatedFusion``. ``width``: of the streams' common space."""

    width: int = Field(default=512, ge=1)


@FUSIONS.register("gated", GatedSettings)
class GatedFusion(nn.Module):
    """A head on the sum over streams of gate · tanh(Linear(stream)); gates come from all streams and add up to one.

    The gated multimodal unit (Arevalo et al. 2017) for any number of streams: a softmax over streams, for each channel,
    in place of its one sigmoid. A stream that a row lacks has no weight, and nothing that stands for it is read. A
    stream of several tokens is reduced to its mean.
    """

    def __init__(self, dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: GatedSettings) -> None:
        super().__init__()
        self.project = nn.ModuleDict({name: nn.Linear(dim, settings.width) for name, dim in dims.items()})
        self.gates = nn.Linear(sum(dims.values()), len(dims) * settings.width)
        self.head = make_head(settings.width)

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        there = torch.stack([present[name] for name in self.project], dim=1)[..., None]
        seen = {name: values[name].mean(1) * present[name][:, None] for name in self.project}
        features = torch.stack([torch.tanh(layer(seen[name])) for name, layer in self.project.items()], dim=1)
        scores = self.gates(torch.cat(list(seen.values()), dim=-1)).unflatten(-1, (len(seen), -1))
        gates = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(1)
        logits: torch.Tensor = self.head((gates * features).sum(1, keepdim=True))
        return logits
