"""Heads: features to logits. Adding one is one file and one entry here."""

from __future__ import annotations

from clipfuse.heads.binary_rnn import BinaryRnnHead, BinaryRnnSettings
from clipfuse.heads.chain import ChainHead, ChainSettings
from clipfuse.heads.gmlp import GatedBlock, GmlpHead, GmlpSettings
from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.heads.label_query import LabelQueryHead, LabelQuerySettings
from clipfuse.heads.linear import LinearHead, LinearSettings
from clipfuse.heads.mlp import MlpHead, MlpSettings, perceptron
from clipfuse.heads.zero_shot import ZeroShotHead, ZeroShotSettings

__all__ = [
    "HEADS",
    "BinaryRnnHead",
    "BinaryRnnSettings",
    "ChainHead",
    "ChainSettings",
    "GatedBlock",
    "GmlpHead",
    "GmlpSettings",
    "Head",
    "LabelQueryHead",
    "LabelQuerySettings",
    "LinearHead",
    "LinearSettings",
    "MlpHead",
    "MlpSettings",
    "ZeroShotHead",
    "ZeroShotSettings",
    "perceptron",
]
