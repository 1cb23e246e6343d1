"""Heads: features of one stream to logits. Adding one is one file and one entry here."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from clipfuse.config import HeadConfig
from clipfuse.heads.gmlp import GatedBlock, GmlpHead
from clipfuse.heads.mlp import LinearHead, MlpHead, perceptron
from clipfuse.registry import Registry

__all__ = ["HEADS", "GatedBlock", "GmlpHead", "HeadFactory", "LinearHead", "MlpHead", "perceptron"]


class HeadFactory(Protocol):
    """Makes a head: (batch, tokens, dim) -> (batch, labels) logits."""

    def __call__(self, dim: int, labels: int, config: HeadConfig) -> nn.Module:
        """A fresh head with random weights."""
        ...


HEADS: Registry[HeadFactory] = Registry("head")


@HEADS.register("linear")
def _linear(dim: int, labels: int, config: HeadConfig) -> nn.Module:
    return LinearHead(dim, labels)


@HEADS.register("mlp")
def _mlp(dim: int, labels: int, config: HeadConfig) -> nn.Module:
    return MlpHead(dim, labels, hidden=config.hidden, dropout=config.dropout, activation=config.activation)


@HEADS.register("gmlp")
def _gmlp(dim: int, labels: int, config: HeadConfig) -> nn.Module:
    return GmlpHead(dim, labels, blocks=2, dropout=config.dropout)
