"""open_clip's models: ``clip:MODEL/TAG`` and ``clip:local-dir:FOLDER``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.data.pictures import DECODER
from clipfuse.encoders.open_clip_catalogue import model_config, published_weights
from clipfuse.encoders.spec import Encoder, EncoderSpec, Modality, Precision, Prepared, Shape
from clipfuse.encoders.weights import (
    ModelFiles,
    count_parameters,
    file_digest,
    from_hub,
    in_folder,
    in_short,
    tensor_shapes,
    tokenizer_digest,
)
from clipfuse.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    import torch
    from PIL import Image

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_LOCAL = "local-dir:"
_PREPROCESSING = {
    "size": 224,
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


@dataclass(frozen=True)
class ClipFactory:
    """One CLIP model on disk: up to two encoders that share its weights. See :class:`EncoderFactory`."""

    specs: tuple[EncoderSpec, ...]
    model_name: str
    weights: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def load(self, device: str, specs: Sequence[EncoderSpec]) -> list[Encoder]:
        """Load with open_clip's own loader, which refuses to go on without weights.

        Raises:
            EncoderError: open_clip can't load them, or preprocesses otherwise than the spec says.
        """
        if not specs:
            return []
        import open_clip

        name = self.specs[0].name
        try:
            model, transform = open_clip.create_model_from_pretrained(
                self.model_name, self.weights, precision="fp32", **self.preprocessing
            )
            # on the device before its projections are taken out of it
            model.eval().requires_grad_(requires_grad=False).to(device)
            found = _plain(model.visual.preprocess_cfg)
            encoders: list[Encoder] = []
            for spec in specs:
                if spec.modality == "image":
                    expected = {k: v for k, v in spec.preprocessing.items() if k != "decoder"}
                    if found != expected:
                        raise EncoderError(f"it preprocesses with {found}, expected {expected}")
                    encoders.append(_ClipImage(spec, model, transform, device))
                else:
                    encoders.append(_ClipText(spec, model, open_clip.get_tokenizer(self.model_name), device))
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"open_clip can't load {name}: {in_short(error)}") from error
        return encoders


def find_clip(name: str, target: str, precision: Precision) -> ClipFactory:
    """The CLIP model that ``target`` ("MODEL/TAG" or "local-dir:FOLDER") names; no weights are loaded.

    Raises:
        WeightsMissing, UnknownName, ConfigError, EncoderError: see each message.
    """
    if target.startswith(_LOCAL):
        folder = Path(target.removeprefix(_LOCAL)).expanduser()
        files = in_folder(name, folder, CONFIG, WEIGHTS)
        config = files.read_config()
        model, preprocessing = config.get("model_cfg"), config.get("preprocess_cfg", {})
        if not isinstance(model, dict) or not isinstance(preprocessing, dict):
            raise EncoderError(f"{files.config} has no 'model_cfg': not a configuration of open_clip")
        for part in ("vision_cfg", "text_cfg"):
            if not isinstance(model.get(part), dict):
                raise EncoderError(f"{files.config} has no {part!r} in its 'model_cfg'")
        # open_clip takes a tokenizer from the folder only where the configuration names one
        tokenizer = tokenizer_digest(folder) if model["text_cfg"].get("hf_tokenizer_name") else None
        return ClipFactory(_specs(name, model, preprocessing, files, tokenizer, precision), f"{_LOCAL}{folder}")
    architecture, slash, tag = target.partition("/")
    if not slash:
        raise ConfigError(
            f"encoder {name!r} names no weights", "Write clip:MODEL/TAG, for example clip:ViT-L-14-quickgelu/openai"
        )
    model = model_config(architecture)
    published = published_weights(architecture, tag)
    repository, _, weights = published.get("hf_hub", "").partition("/")
    repository, _, weights = f"{repository}/{weights}".rpartition("/")
    if not repository:
        raise EncoderError(
            f"encoder {name}: these weights are only published as a pickled file ({published.get('url')})",
            "Convert them to safetensors in open_clip's layout and use clip:local-dir:FOLDER",
        )
    files = from_hub(name, repository, CONFIG, WEIGHTS, own_folder="clip:local-dir:FOLDER")
    preprocessing = {k: published[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in published}
    # by file: exactly the one whose digest the specs have, and no question to the hub; but a file says nothing of
    # how it wants its pictures
    return ClipFactory(
        _specs(name, model, preprocessing, files, None, precision),
        architecture,
        str(files.weights),
        {f"image_{key}": value for key, value in preprocessing.items()},
    )


def _specs(
    name: str,
    model: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    files: ModelFiles,
    tokenizer: str | None,
    precision: Precision,
) -> tuple[EncoderSpec, ...]:
    vision, text = model["vision_cfg"], model["text_cfg"]
    size = {"size": vision.get("image_size", 224)}
    picture = {**_plain({**_PREPROCESSING, **size, **preprocessing}), "decoder": DECODER}
    captions = {
        "tokenizer": tokenizer or text.get("hf_tokenizer_name") or "openai-bpe",
        "context": text.get("context_length", 77),
    }
    tensors = tensor_shapes(files.weights)
    projected = Shape(1, model["embed_dim"])
    weights, weights_bytes = file_digest(files.weights), files.weights.stat().st_size
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"

    def spec(modality: Modality, steps: Mapping[str, Any], pooled: int | None, pixels: int) -> EncoderSpec:
        return EncoderSpec(
            name=name,
            modality=modality,
            backend="open_clip",
            model=_plain(model),
            weights=weights,
            weights_bytes=weights_bytes,
            activation=activation,
            preprocessing=steps,
            precision=precision,
            shapes={"projected": projected} | ({"pooled": Shape(1, pooled)} if pooled else {}),
            parameters=count_parameters(tensors),
            pixels=pixels,
        )

    return (
        spec("image", picture, _width_before(tensors, _IMAGE_PROJECTIONS, vision), math.prod(picture["size"])),
        spec("text", captions, _width_before(tensors, _TEXT_PROJECTIONS, text), 0),
    )


_IMAGE_PROJECTIONS = {
    "visual.proj": 0,
    "visual.head.proj.weight": 1,
    "visual.head.mlp.fc1.weight": 1,
    "visual.trunk.classifier.weight": 1,
    "visual.trunk.head.fc.weight": 1,
    "visual.trunk.head.weight": 1,
}
_TEXT_PROJECTIONS = {
    "text_projection": 0,
    "text_projection.weight": 1,
    "text.text_projection": 0,
    "text.text_projection.weight": 1,
    "text.proj.weight": 1,
    "text.proj.0.weight": 1,
}
"""A tower's last matrix in the weights' file -> which of its sides is the width before it."""


def _width_before(
    tensors: Mapping[str, tuple[int, ...]], projections: Mapping[str, int], tower: Mapping[str, Any]
) -> int | None:
    """Width before the projection. None where a tower has no projection, or (ResNets) projects inside its pooling."""
    if isinstance(tower.get("layers"), list):
        return None
    return next((tensors[name][side] for name, side in projections.items() if len(tensors.get(name, ())) == 2), None)


def _plain(value: Any) -> Any:
    """JSON's idea of a configuration, with picture sizes always as [height, width]."""
    plain = json.loads(json.dumps(value))
    if isinstance(plain, dict) and isinstance(plain.get("size"), int):
        plain["size"] = [plain["size"], plain["size"]]
    return plain


class _ClipImage:
    def __init__(self, spec: EncoderSpec, model: Any, transform: Callable[..., Any], device: str) -> None:
        import torch

        self.spec = spec
        self._transform = transform
        tower, project = _split_image_tower(model)
        from clipfuse.encoders.forward import ForwardPass

        self._pass = ForwardPass(
            lambda batch: _outputs(spec, tower(batch["pixels"]), project),
            [model.visual.to(memory_format=torch.channels_last)],
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


class _ClipText:
    def __init__(self, spec: EncoderSpec, model: Any, tokenizer: Any, device: str) -> None:
        self.spec = spec
        self._tokenizer = tokenizer
        self._context = int(spec.preprocessing["context"])
        tower, project = _split_text_tower(model)
        from clipfuse.encoders.forward import ForwardPass

        self._pass = ForwardPass(
            lambda batch: _outputs(spec, tower(batch["tokens"]), project), [model], device, spec.precision
        )

    def prepare(self, item: str) -> Prepared:
        return Prepared(self._tokenizer([item], context_length=self._context)[0], self._context)

    def collate(self, items: Sequence[Prepared]) -> Mapping[str, torch.Tensor]:
        import torch

        return {"tokens": torch.stack([item.value for item in items])}

    def encode(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return self._pass(batch)


Project = Callable[["torch.Tensor"], "torch.Tensor"]


def _outputs(spec: EncoderSpec, pooled: torch.Tensor, project: Project) -> Mapping[str, torch.Tensor]:
    both = {"pooled": pooled, "projected": project(pooled)}
    return {name: both[name] for name in spec.outputs}


def _split_image_tower(model: Any) -> tuple[Project, Project]:
    """The image tower up to its projection, and the projection: together what ``model.encode_image`` computes."""
    visual = model.visual

    def tower(pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = model.encode_image(pixels, normalize=False)
        return features

    if hasattr(visual, "trunk"):  # a timm model
        trunk, head = visual.trunk, visual.head
        if not len(head):  # the classifier serves as the projection
            return (lambda x: trunk.forward_head(trunk.forward_features(x), pre_logits=True)), trunk.get_classifier()
        pool = 1 if hasattr(head, "pool") else 0  # attention over the trunk's map comes before the projection
        return (lambda x: head[:pool](trunk(x))), head[pool:]
    if getattr(visual, "proj", None) is not None:
        projection, visual.proj = visual.proj, None
        return tower, lambda x: x @ projection
    return tower, lambda x: x


def _split_text_tower(model: Any) -> tuple[Project, Project]:
    """The text tower up to its projection, and the projection: together what ``model.encode_text`` computes."""
    owner = model.text if hasattr(model, "text") else model
    name = "proj" if hasattr(owner, "proj") else "text_projection"
    projection = getattr(owner, name, None)

    def tower(tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = model.encode_text(tokens, normalize=False)
        return features

    if projection is None:
        return tower, lambda x: x
    if callable(projection):
        import torch

        setattr(owner, name, torch.nn.Identity() if name == "proj" else None)
        return tower, projection
    setattr(owner, name, None)
    return tower, lambda x: x @ projection
