"""timm's image models: ``timm:NAME.TAG`` and ``timm:local-dir:FOLDER``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.data.pictures import DECODER
from clipfuse.encoders.spec import Encoder, EncoderSpec, Precision, Prepared, Shape
from clipfuse.encoders.weights import count_parameters, file_digest, from_hub, in_folder, in_short, tensor_shapes
from clipfuse.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    import torch
    from PIL import Image

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
    """One timm model on disk. See :class:`EncoderFactory`."""

    specs: tuple[EncoderSpec, ...]
    folder: Path

    def load(self, device: str, specs: Sequence[EncoderSpec]) -> list[Encoder]:
        """Load with timm's own loader, the classifier left off.

        Raises:
            EncoderError: timm can't load it, or preprocesses otherwise than the spec says.
        """
        if not specs:
            return []
        from timm.data import create_transform, resolve_model_data_config

        (spec,) = specs
        try:
            model = self._create(pretrained=True)
            random = self._left_random(model)
            if random:
                raise EncoderError(f"{len(random)} weights are not in its file, the first is {random[0]}")
            steps = resolve_model_data_config(model, use_test_size=True)
            transform = create_transform(**steps, is_training=False)
            found = {name: list(v) if isinstance(v, tuple) else v for name, v in steps.items()}
            if found == {k: v for k, v in spec.preprocessing.items() if k != "decoder"}:
                return [_TimmImage(spec, model, transform, device)]
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"timm can't load {spec.name}: {in_short(error)}") from error
        raise EncoderError(f"{spec.name}: timm preprocesses with {found}, expected {spec.preprocessing}")

    def _create(self, *, pretrained: bool) -> Any:
        import timm
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # by folder, also where it is the hub's cache: exactly the files whose digest the spec has
            return timm.create_model(f"{_LOCAL}{self.folder}", pretrained=pretrained, num_classes=0)

    def _left_random(self, model: Any) -> list[str]:
        """Names of weights that its file does not have: timm passes over them where the classifier is left off."""
        import torch
        from safetensors import safe_open

        with safe_open(self.folder / WEIGHTS, "pt") as file:
            absent = sorted(model.state_dict().keys() - set(file.keys()))
        if not absent:
            return []
        # timm translates the names of some checkpoints; what was really loaded is no longer as it began
        fresh, found = self._create(pretrained=False).state_dict(), model.state_dict()
        counters = ("num_batches_tracked",)  # old files lack them, and nothing reads them here
        return [name for name in absent if not name.endswith(counters) and torch.equal(found[name], fresh[name])]


def find_timm(name: str, target: str, precision: Precision) -> TimmFactory:
    """The timm model that ``target`` ("NAME.TAG" or "local-dir:FOLDER") names; no weights are loaded.

    Raises:
        WeightsMissing, ConfigError, EncoderError: see each message.
    """
    if target.startswith(_LOCAL):
        files = in_folder(name, Path(target.removeprefix(_LOCAL)).expanduser(), CONFIG, WEIGHTS)
    else:
        if "." not in target:
            raise ConfigError(
                f"encoder {name!r} names no weights, and what timm's default is changes over time",
                "Write timm:NAME.TAG, for example timm:efficientnet_b4.ra2_in1k",
            )
        files = from_hub(name, f"timm/{target}", CONFIG, WEIGHTS, own_folder="timm:local-dir:FOLDER")
    config = files.read_config()
    published = config.get("pretrained_cfg", config)
    if "architecture" not in config or not isinstance(published, dict):
        raise EncoderError(f"{files.config} has no 'architecture': not a configuration of timm")
    steps = {key: _test_time(published, key) for key in _DEFAULTS}
    shapes = tensor_shapes(files.weights)
    spec = EncoderSpec(
        name=name,
        modality="image",
        backend="timm",
        model={
            "architecture": config["architecture"],
            "model_args": config.get("model_args", {}),
            "global_pool": config.get("global_pool"),
        },
        weights=file_digest(files.weights),
        weights_bytes=files.weights.stat().st_size,
        activation="as the architecture",
        preprocessing={**steps, "decoder": DECODER},
        precision=precision,
        shapes={"pooled": Shape(1, _width(config, published, shapes))},
        parameters=count_parameters(shapes),
        pixels=math.prod(steps["input_size"][1:]),
    )
    return TimmFactory((spec,), files.config.parent)


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


class _TimmImage:
    def __init__(self, spec: EncoderSpec, model: Any, transform: Callable[..., Any], device: str) -> None:
        import torch

        self.spec = spec
        self._transform = transform
        from clipfuse.encoders.forward import ForwardPass

        self._pass = ForwardPass(
            lambda batch: {"pooled": model(batch["pixels"])},
            [model.to(memory_format=torch.channels_last)],
            device,
            spec.precision,
        )

    def prepare(self, item: Image.Image) -> Prepared:
        return Prepared(self._transform(item))

    def collate(self, items: Sequence[Prepared]) -> Mapping[str, torch.Tensor]:
        import torch

        return {"pixels": torch.stack([item.value for item in items]).contiguous(memory_format=torch.channels_last)}

    def encode(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return self._pass(batch)
