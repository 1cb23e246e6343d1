"""Fusions: several streams to logits. Adding one is one file and its import here."""

from __future__ import annotations

from clipfuse.fusions.bilinear import BilinearFusion
from clipfuse.fusions.choose import check_fusion, fusion_names, modalities_read
from clipfuse.fusions.combiners import COMBINERS
from clipfuse.fusions.cross_attention import CrossAttentionFusion
from clipfuse.fusions.gated import GatedFusion
from clipfuse.fusions.joined import SINGLE, JoinedFusion
from clipfuse.fusions.kinds import FUSIONS, MakeHead
from clipfuse.fusions.s0_dependent import S0DependentFusion
from clipfuse.fusions.s4_cross_attention import S4CrossAttention
from clipfuse.fusions.stacked import STACKED, StackedFusion, combiner_of, part_names

__all__ = [
    "COMBINERS",
    "FUSIONS",
    "SINGLE",
    "STACKED",
    "BilinearFusion",
    "CrossAttentionFusion",
    "GatedFusion",
    "JoinedFusion",
    "MakeHead",
    "S0DependentFusion",
    "S4CrossAttention",
    "StackedFusion",
    "check_fusion",
    "combiner_of",
    "fusion_names",
    "modalities_read",
    "part_names",
]
