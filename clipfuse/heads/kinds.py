"""The registry of heads."""

from __future__ import annotations

from torch import nn

from clipfuse.kinds import Kinds

HEADS: Kinds[nn.Module] = Kinds("head")
"""Makers: (dim, labels, settings) -> a fresh head, (batch, tokens, dim) -> (batch, labels) logits. Most read the first
token only."""
