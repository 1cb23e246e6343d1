"""Products of the streams' features, at a low rank."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import nn

from clipfuse.fusions.kinds import FUSIONS, MakeHead, Values
from clipfuse.settings import Settings


class BilinearSettings(Settings):
    """What can be set of ``BilinearFusion``. ``rank``: how many products are learned."""

    rank: int = Field(default=256, ge=1)


@FUSIONS.register("bilinear", BilinearSettings)
class BilinearFusion(nn.Module):
    """A head on [LayerNorm(product over streams of tanh(Linear(stream))) ; the streams themselves].

    Low-rank bilinear pooling (Kim et al. 2017), with one more factor for each more stream. Added here: the streams
    themselves, since a product alone must spend its rank on what one stream says without the others; and the layer
    norm, since products of numbers below one are smaller with every factor. A stream that a row lacks is a factor of
    one. A stream of several tokens is reduced to its mean.
    """

    def __init__(self, dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: BilinearSettings) -> None:
        super().__init__()
        self.project = nn.ModuleDict({name: nn.Linear(dim, settings.rank) for name, dim in dims.items()})
        self.norm = nn.LayerNorm(settings.rank)
        self.head = make_head(settings.rank + sum(dims.values()))

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        vectors = {name: values[name].mean(1) for name in self.project}
        factors = [
            torch.tanh(layer(vectors[name])).masked_fill(~present[name][:, None], 1.0)
            for name, layer in self.project.items()
        ]
        product = self.norm(functools.reduce(torch.mul, factors))
        logits: torch.Tensor = self.head(torch.cat([product, *vectors.values()], dim=-1)[:, None])
        return logits
