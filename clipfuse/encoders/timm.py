"""timm's image models: ``timm:NAME.TAG`` and ``timm:local-dir:FOLDER``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.data.pictures import DECODER
from clipfuse.encoders.names import name_in_folder
from clipfuse.encoders.request import Request
from clipfuse.encoders.spec import Encoder, EncoderSpec, PortableEncoder, Shape, tokens_of
from clipfuse.encoders.timm_catalogue import check_architecture, nearest_names, published_config
from clipfuse.encoders.weights import (
    count_parameters,
    file_digest,
    from_hub,
    in_folder,
    in_short,
    own_weights,
    tensor_shapes,
)
from clipfuse.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_LOCAL = "local-dir:"
_DEFAULTS: dict[str, Any] = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_pct": 0.875,
    "crop_mode": "center",
}


@dataclass(frozen=True)
class TimmFactory:
    """One timm model on disk. See :class:`EncoderFactory`.

    Attributes:
        specs: its encoder.
        model_name: what timm calls it.
        weights: its weights' file.
        pretrained_cfg: what timm must be told where it would otherwise take the file from elsewhere.
    """

    specs: tuple[EncoderSpec, ...]
    model_name: str
    weights: Path
    pretrained_cfg: Mapping[str, Any] | None = None

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load with timm's own loader, the classifier left off.

        Raises:
            EncoderError: timm can't load it, or preprocesses otherwise than the spec says.
            ConfigError: the device can't compute in the spec's precision.
        """
        if not specs:
            return []
        from timm.data import create_transform, resolve_model_data_config

        from clipfuse.encoders.picture import PictureEncoder

        (spec,) = specs
        try:
            model = self._create(pretrained=True)
            random = self._left_random(model)
            if random:
                raise EncoderError(f"{len(random)} weights are not in its file, the first is {random[0]}")
            steps = resolve_model_data_config(model, use_test_size=True)
            transform = create_transform(**steps, is_training=False)
            found = {name: list(v) if isinstance(v, tuple) else v for name, v in steps.items()}
            if found != {k: v for k, v in spec.preprocessing.items() if k != "decoder"}:
                raise EncoderError(f"timm preprocesses with {found}, expected {dict(spec.preprocessing)}")
            return [PictureEncoder(spec, transform, _compute(model, spec), model, device, compiled=compiled)]
        except ConfigError:
            raise
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"timm can't load {spec.name}: {in_short(error)}") from error

    def portable(self) -> PortableEncoder:
        """timm's own layout of a folder."""
        name = self.specs[0].name
        if self.model_name.startswith(_LOCAL):
            config: Path | bytes = Path(self.model_name.removeprefix(_LOCAL)) / CONFIG
        else:
            config = json.dumps(published_config(self.model_name), indent=1).encode()
        return PortableEncoder(name_in_folder(name), {CONFIG: config, WEIGHTS: self.weights})

    def _create(self, *, pretrained: bool) -> Any:
        import timm
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return timm.create_model(
                self.model_name, pretrained=pretrained, num_classes=0, pretrained_cfg_overlay=self.pretrained_cfg
            )

    def _left_random(self, model: Any) -> list[str]:
        """Names of weights that its file does not have: timm passes over them where the classifier is left off."""
        import torch
        from safetensors import safe_open

        with safe_open(self.weights, "pt") as file:
            absent = sorted(model.state_dict().keys() - set(file.keys()))
        if not absent:
            return []
        # timm translates the names of some checkpoints; what was really loaded is no longer as it began
        fresh, found = self._create(pretrained=False).state_dict(), model.state_dict()
        counters = ("num_batches_tracked",)  # old files lack them, and nothing reads them here
        return [name for name in absent if not name.endswith(counters) and torch.equal(found[name], fresh[name])]


def find_timm(request: Request) -> TimmFactory:
    """The timm model that is asked for ("NAME.TAG" or "local-dir:FOLDER"); no weights are loaded.

    Raises:
        WeightsMissing, UnknownName, ConfigError, EncoderError: see each message.
    """
    target, own = request.target, request.weights
    local = target.startswith(_LOCAL)
    if local and own is not None:
        raise ConfigError(f"encoder {request.name} names its folder already", "Leave --weights out")
    if not local and "." not in target:
        raise ConfigError(
            f"encoder {request.name!r} names no weights, and what timm's default is changes over time",
            "Write timm:NAME.TAG, for example timm:efficientnet_b4.ra2_in1k",
        )
    if local or (own is not None and (own / CONFIG).exists()):
        folder = own or Path(target.removeprefix(_LOCAL)).expanduser()
        files = in_folder(request.name, folder, CONFIG, WEIGHTS)
        factory = _found(request, files.read_config(), files.weights, files.config)
        found = factory.specs[0].model["architecture"]
        if not local and found != target.partition(".")[0]:
            raise EncoderError(
                f"{folder} is another model than {request.name}: {found}", f"Use timm:local-dir:{folder}"
            )
        return factory
    check_architecture(target)
    if own is not None:
        return _found(request, published_config(target), own_weights(request.name, own, WEIGHTS), None)
    near = nearest_names(target)
    own_folder = "timm:local-dir:FOLDER"
    files = from_hub(request.name, f"timm/{target}", CONFIG, WEIGHTS, own_folder=own_folder, near=near)
    return _found(request, files.read_config(), files.weights, files.config)


def _found(request: Request, config: Mapping[str, Any], weights: Path, config_file: Path | None) -> TimmFactory:
    published = config.get("pretrained_cfg", config)
    if "architecture" not in config or not isinstance(published, dict):
        raise EncoderError(f"{config_file} has no 'architecture': not a configuration of timm")
    steps = {key: _test_time(published, key) for key in _DEFAULTS}
    shapes = tensor_shapes(weights)
    features = config.get("num_features")
    spec = EncoderSpec(
        name=request.name,
        modality="image",
        backend="timm",
        model={
            "architecture": config["architecture"],
            "model_args": config.get("model_args", {}),
            "global_pool": config.get("global_pool"),
        },
        weights=file_digest(weights),
        weights_bytes=weights.stat().st_size,
        activation="as the architecture",
        preprocessing={**steps, "decoder": DECODER},
        precision=request.precision,
        shapes={"pooled": Shape(1, _width(config, published, shapes))}
        | request.tokens_shape(features, "its configuration has no 'num_features'"),
        parameters=count_parameters(shapes),
        pixels=math.prod(steps["input_size"][1:]),
    )
    if config_file is not None:
        # by folder, also where it is the hub's cache: exactly the files whose digest the spec has
        return TimmFactory((spec,), f"{_LOCAL}{config_file.parent}", weights)
    return TimmFactory((spec,), request.target, weights, {"file": str(weights)})


def _width(config: Mapping[str, Any], published: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """What the classifier reads: for some architectures that is not the ``num_features`` of the configuration."""
    classifier = shapes.get(f"{published.get('classifier')}.weight")
    width = classifier[1] if classifier is not None and len(classifier) > 1 else config.get("num_features")
    if not isinstance(width, int):
        raise EncoderError(f"{config['architecture']}: its configuration has no 'num_features'")
    return width


def _test_time(published: Mapping[str, Any], key: str) -> Any:
    """timm's own order: the value for testing, the value for training, the default."""
    tested = published.get(f"test_{key}") if key in {"input_size", "crop_pct"} else None
    return tested or published.get(key) or _DEFAULTS[key]


def _compute(model: Any, spec: EncoderSpec) -> Callable[[torch.Tensor], Mapping[str, torch.Tensor]]:
    from clipfuse.encoders.groups import pool_places

    def compute(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        states = model.forward_features(pixels)
        return {
            output: pool_places(model, states, groups) if (groups := tokens_of(output)) else model.forward_head(states)
            for output in spec.outputs
        }

    return compute
