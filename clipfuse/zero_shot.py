"""What label names say in a CLIP encoder's space, for heads that start from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from clipfuse.encoders import EncoderFactory, Storage, find_encoder
from clipfuse.errors import ClipfuseError, ConfigError, EncoderError, FingerprintMismatch
from clipfuse.fusions import STACKED, modalities_read, part_names
from clipfuse.heads import HEADS, ZeroShotSettings
from clipfuse.models import part_fusion, part_head
from clipfuse.streams import modality_of
from clipfuse.train_config import HeadConfig, TrainConfig
from clipfuse_cache import FeatureTable, TableDescription
from clipfuse_cache.fingerprint import difference

KIND = "zero-shot"
OUTPUT = "projected"
"""The output of CLIP encoders in which pictures and captions meet."""
_BACKEND = "open_clip"
_AT_ONCE = 256


def find_label_vectors(
    config: TrainConfig, tables: Mapping[str, FeatureTable], labels: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Stream -> (labels, dim) float32 unit vectors, for the streams that a zero-shot head reads; often none.

    Args:
        config: which heads there are.
        tables: stream -> the table that it is read from.
        labels: their names.

    Raises:
        ConfigError: such a head is to read something else than the projected features of one CLIP encoder.
        FingerprintMismatch: that encoder is not any more the one that made the features.
        EncoderError: it can't be had.
    """
    found = {}
    for kind, head in _zero_shot_heads(config).items():
        streams = [stream for stream in tables if modality_of(stream) == kind]
        if len(streams) != 1:
            what = ", ".join(streams or tables)
            raise ConfigError(
                f"head {KIND} reads one CLIP encoder's features, fusion {kind} reads {what}",
                "Choose --fusion image, or set it for the picture's part only: --set parts.image.head.kind=zero-shot",
            )
        settings = HEADS.settings(head)
        assert isinstance(settings, ZeroShotSettings)
        found[streams[0]] = encode_labels(tables[streams[0]].description, labels, settings)
    return found


def encode_labels(about: TableDescription, labels: Sequence[str], settings: ZeroShotSettings) -> torch.Tensor:
    """(labels, dim) float32 unit vectors: the mean over prompts, each of length 1 before. Raises as above."""
    if about.encoder.get("backend") != _BACKEND or about.output != OUTPUT:
        raise ConfigError(
            f"head {KIND} reads a CLIP encoder's projected features, {about.name} holds none",
            f"Choose a CLIP with --{about.modality}-encoder, and --{about.modality}-output {OUTPUT}",
        )
    try:
        factory = find_encoder(about.encoder_name, precision=about.encoder["precision"])
        _check_same(factory, about)
        # the text side by itself, in full precision: it is a moment's work
        spec = replace(next(spec for spec in factory.specs if spec.modality == "text"), precision="float32")
        (encoder,) = factory.load("cpu", [spec])
    except FingerprintMismatch:
        raise
    except ClipfuseError as error:
        raise EncoderError(
            f"head {KIND} encodes the labels' names with {about.encoder_name}, which can't be had: {error.problem}",
            error.fix,
        ) from error
    prompts = [prompt for label in labels for prompt in settings.prompts_of(label)]
    vectors = []
    for start in range(0, len(prompts), _AT_ONCE):
        batch = encoder.collate([encoder.prepare(prompt) for prompt in prompts[start : start + _AT_ONCE]])
        vectors.append(encoder.encode(batch)[OUTPUT][:, 0].float())
    each = torch.nn.functional.normalize(torch.cat(vectors), dim=-1).reshape(len(labels), len(settings.prompts), -1)
    return torch.nn.functional.normalize(each.mean(1), dim=-1)


def _zero_shot_heads(config: TrainConfig) -> dict[str, HeadConfig]:
    """Kind of fusion -> its head, for fusions and parts that have a zero-shot one."""
    if config.fusion.kind in STACKED:
        names = part_names(config.fusion, modalities_read(config.fusion, config.modalities))
        heads = {part_fusion(config, name).kind: part_head(config, name) for name in names}
    else:
        heads = {config.fusion.kind: config.head}
    return {kind: head for kind, head in heads.items() if head.kind == KIND}


def _check_same(factory: EncoderFactory, about: TableDescription) -> None:
    storage: Storage = "float32" if about.dtype == "float32" else "float16"
    spec = next(spec for spec in factory.specs if spec.modality == about.modality)
    if spec.fingerprint(about.output, storage) != about.fingerprint:
        fields = difference(spec.fields(about.output, storage), about.encoder)
        raise FingerprintMismatch(
            f"encoder {spec.name} is not the one that {about.name} was made with ({fields})",
            f"Run clipfuse extract --encoder {about.encoder_name} again",
        )
