"""The registry of heads."""

from __future__ import annotations

from clipfuse.heads.head import Head
from clipfuse.kinds import Kinds

HEADS: Kinds[Head] = Kinds("head")
"""Makers: (dim, labels, settings) -> a fresh head, (batch, tokens, dim) -> (batch, labels) logits. Most read the first
token only."""
