"""Frozen encoders: names to weights on disk to features.

``find_encoder(name, precision=...)`` knows what an encoder is without importing a deep-learning library;
``.load(device, specs)`` on its result brings the weights into memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipfuse.encoders.spec import Encoder, EncoderFactory, EncoderSpec, Modality, Precision, Prepared, Shape, Storage
from clipfuse.errors import UnknownName
from clipfuse.registry import Registry, did_you_mean

__all__ = [
    "ALIASES",
    "BACKENDS",
    "Alias",
    "Encoder",
    "EncoderFactory",
    "EncoderSpec",
    "Modality",
    "Precision",
    "Prepared",
    "Shape",
    "Storage",
    "find_encoder",
]

Finder = Callable[[str, str, Precision], EncoderFactory]
BACKENDS: Registry[Finder] = Registry("encoder backend")


@dataclass(frozen=True)
class Alias:
    """A short name for an encoder. ``target`` is its full name."""

    target: str
    about: str


ALIASES: dict[str, Alias] = {
    "mini": Alias(
        f"clip:local-dir:{Path(__file__).parent / 'mini'}",
        "embedded small CLIP, 256-d, for demos and tests; its README.md says what it is not",
    )
}


@BACKENDS.register("clip")
def _clip(name: str, target: str, precision: Precision) -> EncoderFactory:
    from clipfuse.encoders.clip import find_clip

    return find_clip(name, target, precision)


@BACKENDS.register("timm")
def _timm(name: str, target: str, precision: Precision) -> EncoderFactory:
    from clipfuse.encoders.timm import find_timm

    return find_timm(name, target, precision)


@BACKENDS.register("hf")
def _hf(name: str, target: str, precision: Precision) -> EncoderFactory:
    from clipfuse.encoders.hf import find_hf

    return find_hf(name, target, precision)


def find_encoder(name: str, *, precision: Precision = "float32") -> EncoderFactory:
    """Where the encoder called ``name`` is on disk, and everything that its fingerprint needs.

    Args:
        name: an alias ("mini"), or BACKEND:MODEL ("clip:ViT-L-14-quickgelu/openai", "timm:local-dir:FOLDER", ...).
        precision: what its forward pass is to compute in.

    Raises:
        UnknownName: no such alias or backend.
        WeightsMissing: the weights are not here and can't be had; raised before anything heavy is imported.
    """
    alias = ALIASES.get(name)
    backend, colon, target = (alias.target if alias else name).partition(":")
    if not colon or not target:
        raise UnknownName(
            f"unknown encoder {name!r}",
            f"{did_you_mean(name, ALIASES)}, or clip:MODEL/TAG, clip:local-dir:FOLDER, timm:NAME.TAG, "
            "timm:local-dir:FOLDER, hf:OWNER/NAME, hf:FOLDER",
        )
    return BACKENDS.get(backend)(name, target, precision)
