"""One head on streams side by side: all of them, or those of one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from clipfuse.errors import ConfigError
from clipfuse.fusions.kinds import FUSIONS, MakeHead, Values
from clipfuse.settings import Settings
from clipfuse.streams import modality_of

SINGLE = ("image", "text", "numbers")
"""Fusions that read one modality, which has their name."""


class JoinedFusion(nn.Module):
    """One head on the features of ``streams`` side by side, in that order (see ``join``)."""

    def __init__(self, streams: Sequence[str], head: nn.Module) -> None:
        super().__init__()
        self.streams = tuple(streams)
        self.head = head

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        logits: torch.Tensor = self.head(self.features(values))
        return logits

    def features(self, values: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)} -> (batch, tokens, sum of dims): what the head reads."""
        return join([values[name] for name in self.streams])


def join(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Several (batch, tokens, dim) side by side: (batch, tokens, sum of dims).

    Streams of different numbers of tokens have no tokens that belong together: each is reduced to its mean first, and
    one token comes out.
    """
    if len({each.shape[1] for each in features}) > 1:
        features = [each.mean(1, keepdim=True) for each in features]
    return torch.cat(list(features), dim=-1)


def streams_of(modality: str, streams: Sequence[str], fusion: str) -> list[str]:
    """Those of the ``streams`` that are of a modality. Raises ConfigError where ``fusion`` would have none to read."""
    found = [name for name in streams if modality_of(name) == modality]
    if not found:
        problem = f"fusion {fusion} reads {modality} features, and there are none"
        raise ConfigError(problem, f"There are: {', '.join(streams) or 'none at all'}. Choose another fusion")
    return found


def _of_modality(modality: str, dims: Mapping[str, int], make_head: MakeHead) -> nn.Module:
    streams = streams_of(modality, list(dims), modality)
    return JoinedFusion(streams, make_head(sum(dims[name] for name in streams)))


@FUSIONS.register("image", Settings)
def _image(dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: Settings) -> nn.Module:
    return _of_modality("image", dims, make_head)


@FUSIONS.register("text", Settings)
def _text(dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: Settings) -> nn.Module:
    return _of_modality("text", dims, make_head)


@FUSIONS.register("numbers", Settings)
def _numbers(dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: Settings) -> nn.Module:
    return _of_modality("numbers", dims, make_head)


@FUSIONS.register("concat", Settings)
def _concat(dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: Settings) -> nn.Module:
    return JoinedFusion(list(dims), make_head(sum(dims.values())))
