"""Fusions: several streams to logits. Adding one is one file and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import nn

from clipfuse.config import FusionConfig
from clipfuse.fusions.single import ConcatFusion, SingleFusion
from clipfuse.fusions.stacked import MlpMeta, ResidualMeta, StackedFusion
from clipfuse.registry import Registry

__all__ = [
    "FUSIONS",
    "ConcatFusion",
    "FusionFactory",
    "MakeHead",
    "MlpMeta",
    "ResidualMeta",
    "SingleFusion",
    "StackedFusion",
]

MakeHead = Callable[[int], nn.Module]
"""Makes a fresh head for features of a given width."""


class FusionFactory(Protocol):
    """Makes a fusion: ({stream: (batch, tokens, dim)}, {stream: (batch,) present}) -> (batch, labels) logits."""

    def __call__(self, dims: Mapping[str, int], labels: int, head: MakeHead, config: FusionConfig) -> nn.Module:
        """A fresh fusion with random weights. ``dims``: stream -> width, in order."""
        ...


FUSIONS: Registry[FusionFactory] = Registry("fusion")


@FUSIONS.register("image")
def _image(dims: Mapping[str, int], labels: int, head: MakeHead, config: FusionConfig) -> nn.Module:
    return SingleFusion("image", head(dims["image"]))


@FUSIONS.register("text")
def _text(dims: Mapping[str, int], labels: int, head: MakeHead, config: FusionConfig) -> nn.Module:
    return SingleFusion("text", head(dims["text"]))


@FUSIONS.register("concat")
def _concat(dims: Mapping[str, int], labels: int, head: MakeHead, config: FusionConfig) -> nn.Module:
    return ConcatFusion(list(dims), head(sum(dims.values())))


@FUSIONS.register("sum")
def _sum(dims: Mapping[str, int], labels: int, head: MakeHead, config: FusionConfig) -> nn.Module:
    parts = {name: SingleFusion(name, head(dim)) for name, dim in dims.items()}
    return StackedFusion(parts, _meta(len(parts), labels, config))


@FUSIONS.register("mixed")
def _mixed(dims: Mapping[str, int], labels: int, head: MakeHead, config: FusionConfig) -> nn.Module:
    parts: dict[str, nn.Module] = {name: SingleFusion(name, head(dim)) for name, dim in dims.items()}
    parts["concat"] = ConcatFusion(list(dims), head(sum(dims.values())))
    return StackedFusion(parts, _meta(len(parts), labels, config))


def _meta(parts: int, labels: int, config: FusionConfig) -> nn.Module:
    if config.meta == "mlp":
        return MlpMeta(labels, hidden=config.meta_hidden, dropout=config.meta_dropout)
    return ResidualMeta(parts, labels, hidden=config.meta_hidden, dropout=config.meta_dropout)
