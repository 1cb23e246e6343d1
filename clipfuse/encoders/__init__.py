"""Frozen encoders: names to weights on disk to features.

``find_encoder(name, precision=...)`` knows what an encoder is without importing a deep-learning library
(torchvision's excepted); ``.load(device, specs)`` on its result brings the weights into memory.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path

from clipfuse.encoders.aliases import ALIASES, Alias
from clipfuse.encoders.names import WEIGHTS_SIGN, split_name
from clipfuse.encoders.request import Request
from clipfuse.encoders.spec import (
    Encoder,
    EncoderFactory,
    EncoderSpec,
    Modality,
    Portable,
    PortableEncoder,
    Precision,
    Prepared,
    Shape,
    Storage,
    tokens_of,
)
from clipfuse.errors import ConfigError, UnknownName
from clipfuse.registry import Registry, did_you_mean

__all__ = [
    "ALIASES",
    "BACKENDS",
    "Alias",
    "Encoder",
    "EncoderFactory",
    "EncoderSpec",
    "Modality",
    "Portable",
    "PortableEncoder",
    "Precision",
    "Prepared",
    "Request",
    "Shape",
    "Storage",
    "find_encoder",
    "tokens_of",
]

Finder = Callable[[Request], EncoderFactory]
BACKENDS: Registry[Finder] = Registry("encoder backend")


@BACKENDS.register("clip")
def _clip(request: Request) -> EncoderFactory:
    from clipfuse.encoders.clip import find_clip

    return find_clip(request)


@BACKENDS.register("timm")
def _timm(request: Request) -> EncoderFactory:
    from clipfuse.encoders.timm import find_timm

    return find_timm(request)


@BACKENDS.register("hf")
def _hf(request: Request) -> EncoderFactory:
    from clipfuse.encoders.hf import find_hf

    return find_hf(request)


@BACKENDS.register("torchvision")
def _torchvision(request: Request) -> EncoderFactory:
    from clipfuse.encoders.torchvision import find_torchvision

    return find_torchvision(request)


_MOST_TOKENS = 256  # 16 x 16 places of a picture: 0.8 MB a row of 768 float32 numbers each


def find_encoder(
    name: str, *, precision: Precision = "float32", tokens: int | None = None, weights: Path | None = None
) -> EncoderFactory:
    """Where the encoder called ``name`` is on disk, and everything that its fingerprint needs.

    Args:
        name: an alias ("mini"), or BACKEND:MODEL ("clip:ViT-L-14-quickgelu/openai", "timm:local-dir:FOLDER", ...); with
            weights of one's own NAME@PATH.
        precision: what its forward pass is to compute in.
        tokens: give one more output, "tokens-K": the last layer reduced to so many groups, 1 to 256.
        weights: a safetensors file, or a folder that holds the model. The encoder is then called NAME@PATH, which
            finds it again.

    Raises:
        UnknownName: no such alias, backend or model.
        ConfigError: settings that can't be, or that don't go together.
        EncoderError: the model can't give tokens, or the weights are not what they should be.
        WeightsMissing: the weights are not here and can't be had; raised before anything heavy is imported.
    """
    if precision not in typing.get_args(Precision):
        known = typing.get_args(Precision)
        raise ConfigError(f"unknown precision {precision!r}", did_you_mean(str(precision), known))
    if tokens is not None and not 1 <= tokens <= _MOST_TOKENS:
        raise ConfigError(f"an encoder can't give {tokens} tokens", f"Write --tokens 1 to {_MOST_TOKENS}")
    model, path = (name, str(weights)) if weights is not None else split_name(name)
    alias = ALIASES.get(model)
    backend, colon, target = (alias.target if alias else model).partition(":")
    if not colon or not target or path == "":
        raise UnknownName(f"unknown encoder {name!r}", _hint(model))
    request = Request(
        model if path is None else f"{model}{WEIGHTS_SIGN}{path}",
        target,
        precision,
        tokens,
        None if path is None else Path(path).expanduser(),
        prefix=alias.prefix if alias else "",
        pooling=alias.pooling if alias else None,
    )
    return BACKENDS.get(backend)(request)


def _hint(name: str) -> str:
    near = did_you_mean(name, ALIASES)
    start = f"{near} " if near.startswith("Did") else ""
    return (
        f"{start}clipfuse encoders lists the short names; any other model is clip:MODEL/TAG, timm:NAME.TAG, "
        "hf:OWNER/NAME, torchvision:NAME.TAG, or one of these with a folder"
    )
