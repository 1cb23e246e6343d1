"""The registry of fusions that are one module; what is put together from several is in ``clipfuse.fusions.stacked``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from clipfuse.heads import Head
from clipfuse.kinds import Kinds

Values = Mapping[str, torch.Tensor]
"""Stream -> tensor."""

MakeHead = Callable[[int], Head]
"""Makes a fresh head for features of a given width."""

FUSIONS: Kinds[nn.Module] = Kinds("fusion")
"""Makers: ({stream: dim}, labels, MakeHead, settings) -> a fresh fusion.

Its ``forward`` takes {stream: (batch, tokens, dim)} and {stream: (batch,) bool present} and gives (batch, labels)
logits. Values come standardised, and absent ones replaced (see ``clipfuse.model_inputs``), so most fusions need not
look at ``present``.
"""
