"""open_clip's models: ``clip:MODEL/TAG``, ``clip:local-dir:FOLDER``, and ``clip:MODEL`` with weights of one's own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipfuse.data.pictures import DECODER
from clipfuse.encoders.clip_shapes import clip_shapes
from clipfuse.encoders.names import name_in_folder
from clipfuse.encoders.open_clip_catalogue import check_origin, common_weights, model_config, published_weights
from clipfuse.encoders.request import Request
from clipfuse.encoders.spec import Encoder, EncoderSpec, Modality, PortableEncoder, Shape
from clipfuse.encoders.tokenizer_files import check_tokenizer, tokenizer_digest, tokenizer_from_hub, tokenizer_paths
from clipfuse.encoders.weights import (
    ModelFiles,
    check_settings,
    count_parameters,
    file_digest,
    from_hub,
    in_folder,
    in_short,
    own_weights,
    tensor_shapes,
)
from clipfuse.errors import ConfigError, EncoderError

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
    """One CLIP model on disk: up to two encoders that share its weights. See :class:`EncoderFactory`.

    Attributes:
        specs: its encoders.
        model_name: what open_clip calls it.
        weights: its weights' file; None where they are in the folder that ``model_name`` names.
        preprocessing: open_clip's arguments for what a file of weights does not say.
        tokenizer: folder of a transformers tokenizer; None for OpenAI's, which open_clip brings along.
    """

    specs: tuple[EncoderSpec, ...]
    model_name: str
    weights: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load with open_clip's own loader, which refuses to go on without weights.

        Raises:
            EncoderError: open_clip can't load them, or preprocesses otherwise than the spec says.
            ConfigError: the device can't compute in the spec's precision.
        """
        if not specs:
            return []
        import open_clip

        from clipfuse.encoders.caption import CaptionEncoder
        from clipfuse.encoders.clip_tokens import load_tokenizer
        from clipfuse.encoders.clip_towers import image_compute, text_compute
        from clipfuse.encoders.picture import PictureEncoder

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
                    compute = image_compute(model, spec)
                    encoders.append(PictureEncoder(spec, transform, compute, model.visual, device, compiled=compiled))
                else:
                    tokenize = load_tokenizer(spec, self.tokenizer)
                    encoders.append(
                        CaptionEncoder(
                            spec, tokenize, text_compute(model, spec), model, device, padding=0, compiled=compiled
                        )
                    )
        except ConfigError:
            raise
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"open_clip can't load {name}: {in_short(error)}") from error
        return encoders

    def portable(self) -> PortableEncoder:
        """open_clip's own layout of a folder. Raises EncoderError where parts of the model are elsewhere."""
        image = self.specs[0]
        text = image.model["text_cfg"]
        if text.get("hf_model_name"):
            raise EncoderError(
                f"encoder {image.name} can't be taken along: the settings of its text tower are those of"
                f" {text['hf_model_name']}, outside of its files",
                "Leave its weights out, and name it by --image-encoder or --text-encoder where you predict",
            )
        weights = Path(self.weights or Path(self.model_name.removeprefix(_LOCAL)) / WEIGHTS)
        steps = {name: value for name, value in image.preprocessing.items() if name != "decoder"}
        config = {"model_cfg": dict(image.model), "preprocess_cfg": steps}
        return PortableEncoder(
            name_in_folder(image.name),
            {
                CONFIG: json.dumps(config, indent=1).encode(),
                WEIGHTS: weights,
                **(tokenizer_paths(self.tokenizer) if self.tokenizer is not None else {}),
            },
        )


def find_clip(request: Request) -> ClipFactory:
    """The CLIP model that is asked for ("MODEL/TAG", "local-dir:FOLDER", or "MODEL" with weights); no weights are
    loaded.

    Raises:
        WeightsMissing, UnknownName, ConfigError, EncoderError: see each message.
    """
    target, own = request.target, request.weights
    if target.startswith(_LOCAL):
        if own is not None:
            raise ConfigError(f"encoder {request.name} names its folder already", "Leave --weights out")
        return _from_folder(request, Path(target.removeprefix(_LOCAL)).expanduser())
    architecture, slash, tag = target.partition("/")
    model = model_config(architecture)
    if own is not None and (own / CONFIG).exists():
        factory = _from_folder(request, own)
        _check_same(model, factory.specs[0].model, request, own)
        return factory
    if own is not None:
        published = published_weights(architecture, tag) if slash else common_weights(architecture)
        weights = own_weights(request.name, own, WEIGHTS)
        check_origin(architecture, weights)
    elif not slash:
        raise ConfigError(
            f"encoder {request.name!r} names no weights",
            "Write clip:MODEL/TAG, for example clip:ViT-L-14-quickgelu/openai, or give a file with --weights",
        )
    else:
        published = published_weights(architecture, tag)
        repository, _, rest = published.get("hf_hub", "").partition("/")
        repository, _, _ = f"{repository}/{rest}".rpartition("/")
        if not repository:
            raise EncoderError(
                f"encoder {request.name}: these weights are only published as a pickled file ({published.get('url')})",
                "Download it, clipfuse encoders convert FILE -o FILE.safetensors, and give that with --weights",
            )
        weights = from_hub(request.name, repository, CONFIG, WEIGHTS, own_folder="clip:local-dir:FOLDER").weights
    asked = ("mean", "std", "interpolation", "resize_mode")
    preprocessing: dict[str, Any] = {key: published[key] for key in asked if key in published}
    tokenizer, text = None, model["text_cfg"]
    if text.get("hf_tokenizer_name"):
        tokenizer = tokenizer_from_hub(request.name, text["hf_tokenizer_name"], "clip:local-dir:FOLDER")
    # by file: exactly the one whose digest the specs have, and no question to the hub; but a file says nothing of
    # how it wants its pictures
    return ClipFactory(
        _specs(request, model, preprocessing, weights, tokenizer),
        architecture,
        str(weights),
        {f"image_{key}": value for key, value in preprocessing.items()},
        tokenizer,
    )


def _from_folder(request: Request, folder: Path) -> ClipFactory:
    files = in_folder(request.name, folder, CONFIG, WEIGHTS)
    model, preprocessing = _read(files)
    # open_clip takes a tokenizer from the folder only where the configuration names one
    tokenizer = None
    if model["text_cfg"].get("hf_tokenizer_name"):
        check_tokenizer(request.name, folder)
        tokenizer = folder
    specs = _specs(request, model, preprocessing, files.weights, tokenizer)
    return ClipFactory(specs, f"{_LOCAL}{folder}", tokenizer=tokenizer)


def _read(files: ModelFiles) -> tuple[dict[str, Any], dict[str, Any]]:
    config = files.read_config()
    model, preprocessing = config.get("model_cfg"), config.get("preprocess_cfg", {})
    if not isinstance(model, dict) or not isinstance(preprocessing, dict):
        raise EncoderError(f"{files.config} has no 'model_cfg': not a configuration of open_clip")
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(model.get(part), dict):
            raise EncoderError(f"{files.config} has no {part!r} in its 'model_cfg'")
    return model, preprocessing


def _check_same(named: Mapping[str, Any], found: Mapping[str, Any], request: Request, folder: Path) -> None:
    for key in ("embed_dim", "quick_gelu"):
        if (named.get(key) or False) != (found.get(key) or False):
            raise EncoderError(
                f"{folder} is another model than {request.name}: its {key} is {found.get(key)}, not {named.get(key)}",
                f"Use clip:local-dir:{folder}",
            )


def _specs(
    request: Request,
    model: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    weights: Path,
    tokenizer: Path | None,
) -> tuple[EncoderSpec, ...]:
    vision, text = model["vision_cfg"], model["text_cfg"]
    if text.get("hf_model_name"):
        check_settings(request.name, text["hf_model_name"])
    size = {"size": vision.get("image_size", 224)}
    picture = {**_plain({**_PREPROCESSING, **size, **preprocessing}), "decoder": DECODER}
    captions = {
        "tokenizer": tokenizer_digest(tokenizer) if tokenizer else "openai-bpe",
        "context": text.get("context_length", 77),
    }
    if request.prefix:
        captions["prefix"] = request.prefix
    tensors = tensor_shapes(weights)
    digest, weights_bytes = file_digest(weights), weights.stat().st_size

    def spec(modality: Modality, steps: Mapping[str, Any], shapes: Mapping[str, Shape], pixels: int) -> EncoderSpec:
        return EncoderSpec(
            name=request.name,
            modality=modality,
            backend="open_clip",
            model=_plain(model),
            weights=digest,
            weights_bytes=weights_bytes,
            activation="quick_gelu" if model.get("quick_gelu") else "gelu",
            preprocessing=steps,
            precision=request.precision,
            shapes=shapes,
            parameters=count_parameters(tensors),
            pixels=pixels,
        )

    image, caption = clip_shapes(model, tensors, request)
    return spec("image", picture, image, math.prod(picture["size"])), spec("text", captions, caption, 0)


def _plain(value: Any) -> Any:
    """JSON's idea of a configuration, with picture sizes always as [height, width]."""
    plain = json.loads(json.dumps(value))
    if isinstance(plain, dict) and isinstance(plain.get("size"), int):
        plain["size"] = [plain["size"], plain["size"]]
    return plain
