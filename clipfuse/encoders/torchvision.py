"""torchvision's image models: ``torchvision:NAME.TAG``, with weights of one's own.

torchvision publishes pickled weights by address only, and clipfuse loads no pickles: they are converted once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.data.pictures import DECODER
from clipfuse.encoders.names import name_in_folder
from clipfuse.encoders.request import Request
from clipfuse.encoders.spec import Encoder, EncoderSpec, PortableEncoder, Shape
from clipfuse.encoders.weights import count_parameters, file_digest, in_short, own_weights, tensor_shapes
from clipfuse.errors import ConfigError, EncoderError, UnknownName, WeightsMissing
from clipfuse.registry import did_you_mean

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TorchvisionFactory:
    """One torchvision model on disk. See :class:`EncoderFactory`."""

    specs: tuple[EncoderSpec, ...]
    weights: Path

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load every weight of the file, and take off the last layer.

        Raises:
            EncoderError: the file is not of this model.
            ConfigError: the device can't compute in the spec's precision.
        """
        if not specs:
            return []
        from safetensors.torch import load_file
        from torchvision.models import get_model

        from clipfuse.encoders.picture import PictureEncoder

        (spec,) = specs
        published = _published(spec.name, spec.model["architecture"], spec.model["tag"])
        shapes = tensor_shapes(self.weights)
        last = _classifier(spec.name, shapes)
        try:
            network = get_model(spec.model["architecture"], weights=None, num_classes=shapes[f"{last}.weight"][0])
            network.load_state_dict(load_file(self.weights))
            _take_off(network, last)
            transform = published.transforms()
            return [
                PictureEncoder(
                    spec, transform, lambda pixels: {"pooled": network(pixels)}, network, device, compiled=compiled
                )
            ]
        except ConfigError:
            raise
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"torchvision can't load {spec.name}: {in_short(error)}") from error

    def portable(self) -> PortableEncoder:
        """The file of weights; torchvision knows the rest."""
        return PortableEncoder(name_in_folder(self.specs[0].name), {WEIGHTS: self.weights})


def find_torchvision(request: Request) -> TorchvisionFactory:
    """The torchvision model that is asked for ("NAME.TAG"). Imports torchvision, which alone knows its preprocessing.

    Raises:
        WeightsMissing, UnknownName, ConfigError, EncoderError: see each message.
    """
    architecture, dot, tag = request.target.partition(".")
    if not dot:
        raise ConfigError(
            f"encoder {request.name!r} names no weights",
            "Write torchvision:NAME.TAG, for example torchvision:shufflenet_v2_x2_0.IMAGENET1K_V1",
        )
    published = _published(request.name, architecture, tag)
    if request.weights is None:
        pickle = published.url.rpartition("/")[2]
        raise WeightsMissing(
            f"encoder {request.name}: torchvision publishes its weights only as a pickled file ({published.url})",
            f"Download it, clipfuse encoders convert {pickle} -o {Path(pickle).with_suffix('.safetensors')}, "
            "and give that with --weights",
        )
    weights = own_weights(request.name, request.weights, WEIGHTS)
    shapes = tensor_shapes(weights)
    width = shapes[f"{_classifier(request.name, shapes)}.weight"][1]
    steps = published.transforms()
    crop = [int(side) for side in steps.crop_size] * (1 if len(steps.crop_size) == 2 else 2)
    spec = EncoderSpec(
        name=request.name,
        modality="image",
        backend="torchvision",
        model={"architecture": architecture, "tag": tag},
        weights=file_digest(weights),
        weights_bytes=weights.stat().st_size,
        activation="as the architecture",
        preprocessing={
            "resize_size": list(steps.resize_size),
            "crop_size": crop,
            "mean": list(steps.mean),
            "std": list(steps.std),
            "interpolation": steps.interpolation.value,
            "antialias": bool(steps.antialias),
            "decoder": DECODER,
        },
        precision=request.precision,
        shapes={"pooled": Shape(1, width)} | request.tokens_shape(None, "use one of timm's, which keep their last map"),
        parameters=count_parameters(shapes),
        pixels=math.prod(crop),
    )
    return TorchvisionFactory((spec,), weights)


def _published(encoder: str, architecture: str, tag: str) -> Any:
    from torchvision.models import get_model_weights, list_models

    known = list_models()
    if architecture not in known:
        raise UnknownName(
            f"encoder {encoder}: torchvision has no model {architecture!r}", did_you_mean(architecture, known)
        )
    tags = {one.name: one for one in get_model_weights(architecture)}
    if tag not in tags:
        raise UnknownName(f"encoder {encoder}: torchvision has no weights {tag!r}", did_you_mean(tag, tags))
    return tags[tag]


def _classifier(encoder: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the last layer, by the names that torchvision gives it: the one with a matrix of weights."""
    for layer in ("fc", "head", "heads.head", "classifier", *(f"classifier.{n}" for n in range(9, 0, -1))):
        if len(shapes.get(f"{layer}.weight", ())) == 2:
            return layer
    raise EncoderError(f"encoder {encoder}: its weights have no last layer that clipfuse knows (fc, classifier, head)")


def _take_off(network: torch.nn.Module, layer: str) -> None:
    import torch

    parent, _, name = layer.rpartition(".")
    setattr(network.get_submodule(parent), name, torch.nn.Identity())
