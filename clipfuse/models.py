"""The only place where settings meet modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from clipfuse.baselines import BASELINES, EstimatorHead, WordFeatures, check_baseline
from clipfuse.errors import UnknownName
from clipfuse.fusions import COMBINERS, FUSIONS, STACKED, StackedFusion, check_fusion, combiner_of, part_names
from clipfuse.heads import HEADS, Head
from clipfuse.losses import LOSSES
from clipfuse.model_inputs import JointModel, ModelInputs
from clipfuse.registry import did_you_mean
from clipfuse.streams import modality_of
from clipfuse.table_streams import CAPTIONS, NUMBERS
from clipfuse.train_config import FitConfig, FusionConfig, HeadConfig, TrainConfig


def build_model(config: TrainConfig, dims: Mapping[str, int], labels: int, *, seed: int) -> JointModel | StackedFusion:
    """A fresh model with random weights, the same ones for the same seed.

    Args:
        config: which fusion and head, and their sizes.
        dims: stream -> width, in the order in which they are joined.
        labels: how many labels.
        seed: of the weights.

    Raises:
        UnknownName: no such fusion or head.
        ConfigError: settings that they do not have, or values that can't be.
    """
    fusion = config.fusion
    check_fusion(fusion)
    torch.manual_seed(seed)
    if fusion.kind not in STACKED:
        return _joint(config, fusion, config.head, dims, labels)
    modalities = list(dict.fromkeys(map(modality_of, dims)))
    names = part_names(fusion, modalities)
    parts = {}
    for name in names:
        parts[name] = _joint(config, part_fusion(config, name), part_head(config, name), dims, labels)
    return StackedFusion(parts, COMBINERS.build(combiner_of(fusion), names, labels))


def check_models(config: TrainConfig) -> None:
    """Make sure that everything that is chosen by name exists and has such settings, before anything is trained.

    Raises:
        UnknownName: no such fusion, combiner, loss, part or head.
        ConfigError: settings that they do not have, or values that can't be.
    """
    check_fusion(config.fusion)
    check_head(config.head)
    names = part_names(config.fusion, config.modalities) if config.fusion.kind in STACKED else ()
    for name in (*names, *config.parts):
        if name not in FUSIONS:
            raise UnknownName(f"fusion {config.fusion.kind}: unknown part {name!r}", did_you_mean(name, FUSIONS))
    fits: list[FitConfig] = [config.fit, config.stacking.fit]
    for name, own in config.parts.items():
        fits += [own.fit] if own.fit is not None else []
        FUSIONS.settings(part_fusion(config, name))
        if own.head is not None:
            check_head(own.head)
    for fit in fits:
        LOSSES.settings(fit.loss)


def part_fusion(config: TrainConfig, part: str) -> FusionConfig:
    """The fusion that a part of a stacked one is."""
    own = config.parts.get(part)
    return own.fusion if own is not None and own.fusion is not None else FusionConfig(kind=part)


def part_head(config: TrainConfig, part: str) -> HeadConfig:
    """The head of a part of a stacked fusion."""
    own = config.parts.get(part)
    return own.head if own is not None and own.head is not None else config.head


def scaled_streams(config: TrainConfig, streams: Iterable[str]) -> list[str]:
    """Which streams are standardised: all, or the numbers alone, which have units of their own. Captions are not."""
    captions = CAPTIONS if config.features != "embeddings" else None
    return [name for name in streams if (config.scale or name == NUMBERS) and name != captions]


def count_parameters(model: nn.Module) -> int:
    """Trained numbers in a model; of estimators those that they keep."""
    kept = [m.estimator.numbers for m in model.modules() if isinstance(m, EstimatorHead) and m.estimator is not None]
    return sum(parameter.numel() for parameter in model.parameters()) + sum(kept)


def check_head(config: HeadConfig) -> None:
    """Make sure that there is such a head or baseline, with such settings. Raises UnknownName, ConfigError."""
    if config.kind in BASELINES:
        check_baseline(config)
    elif config.kind in HEADS:
        HEADS.settings(config)
    else:
        known = [*HEADS, *BASELINES]
        raise UnknownName(f"unknown head {config.kind!r}", did_you_mean(config.kind, known))


def heads_of(config: TrainConfig) -> dict[str, HeadConfig]:
    """Fusion -> its head: that of each part of a stacked fusion, or of the joint one."""
    if config.fusion.kind not in STACKED:
        return {config.fusion.kind: config.head}
    return {name: part_head(config, name) for name in part_names(config.fusion, config.modalities)}


def _head(config: HeadConfig, dim: int, labels: int, words: WordFeatures | None) -> Head:
    if config.kind in BASELINES:
        return EstimatorHead(dim, labels, config, words)
    return HEADS.build(config, dim, labels)


def _joint(
    config: TrainConfig, fusion: FusionConfig, head: HeadConfig, dims: Mapping[str, int], labels: int
) -> JointModel:
    read = {name: dim for name, dim in dims.items() if modality_of(name) == fusion.kind} or dict(dims)
    words = None if fusion.kind != CAPTIONS or config.features == "embeddings" else config.features
    body = FUSIONS.build(fusion, read, labels, lambda dim: _head(head, dim, labels, words))
    if head.kind in BASELINES:
        return JointModel(ModelInputs(read, "zeros", scaled_streams(config, read)), body)
    if any(isinstance(module, Head) and module.reads_unscaled for module in body.modules()):
        return JointModel(ModelInputs(read, "zeros", ()), body)
    return JointModel(ModelInputs(read, config.absent, scaled_streams(config, read)), body)
