"""transformers' text models: ``hf:OWNER/NAME`` and ``hf:FOLDER``."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.encoders.names import name_in_folder
from clipfuse.encoders.request import Pooling, Request
from clipfuse.encoders.spec import Encoder, EncoderSpec, PortableEncoder, Shape, tokens_of
from clipfuse.encoders.tokenizer_files import TOKENIZER_FILES, check_tokenizer, tokenizer_digest, tokenizer_paths
from clipfuse.encoders.weights import (
    ModelFiles,
    count_parameters,
    file_digest,
    from_hub,
    in_folder,
    in_short,
    tensor_shapes,
)
from clipfuse.errors import ConfigError, EncoderError, WeightsMissing

if TYPE_CHECKING:
    import torch

    from clipfuse.encoders.caption import Tokens

CONFIG, WEIGHTS, POOLING = "config.json", "model.safetensors", "1_Pooling/config.json"
_NOT_SETTINGS = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"}
_MAX_TOKENS = 512
_MODE = "pooling_mode_"
_POOLINGS: Mapping[str, Pooling] = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls"}
_POOLERS = {"albert", "bert", "camembert", "mpnet", "roberta", "xlm-roberta"}
"""Kinds whose plain model ends in a pooler; in other files a "pooler" belongs to a classifier."""
_COUNT_FROM_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Kinds whose first position is the one after the padding's id, so that they read fewer tokens than they have
positions."""


@dataclass(frozen=True)
class HfFactory:
    """One transformers model on disk. See :class:`EncoderFactory`."""

    specs: tuple[EncoderSpec, ...]
    folder: Path

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load with transformers' own loader, from safetensors only.

        Raises:
            EncoderError: transformers can't load it, or weights that the features need are not in the file.
            ConfigError: the device can't compute in the spec's precision.
        """
        if not specs:
            return []
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        from clipfuse.encoders.caption import CaptionEncoder

        logging.disable_progress_bar()  # clipfuse shows its own
        logging.set_verbosity_error()  # and says itself which weights it misses; those of a head are not missed
        (spec,) = specs
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            model, info = AutoModel.from_pretrained(
                self.folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            pooler = "pooler" in spec.shapes
            missing = sorted(name for name in info["missing_keys"] if pooler or "pooler" not in name)
            if missing:
                raise EncoderError(f"{len(missing)} weights are not in its file, the first is {missing[0]}")
            return [
                CaptionEncoder(
                    spec,
                    _tokenize(tokenizer, int(spec.preprocessing["max_length"])),
                    _compute(model, spec),
                    model,
                    device,
                    padding=tokenizer.pad_token_id or 0,
                    compiled=compiled,
                )
            ]
        except ConfigError:
            raise
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"transformers can't load {spec.name}: {in_short(error)}") from error

    def portable(self) -> PortableEncoder:
        """transformers' own layout of a folder."""
        files: dict[str, Path | bytes] = {name: self.folder / name for name in (CONFIG, WEIGHTS)}
        files |= tokenizer_paths(self.folder)
        if (self.folder / POOLING).exists():
            files[POOLING] = self.folder / POOLING
        return PortableEncoder(name_in_folder(self.specs[0].name), files)


def find_hf(request: Request) -> HfFactory:
    """The transformers model that is asked for (a folder, or "OWNER/NAME" on the hub); no weights are loaded.

    Raises:
        WeightsMissing, EncoderError, ConfigError: see each message.
    """
    files = _files(request)
    check_tokenizer(request.name, files.config.parent)
    config = files.read_config()
    if "model_type" not in config:
        raise EncoderError(f"{files.config} has no 'model_type': not a configuration of transformers")
    width = config.get("hidden_size", config.get("dim", config.get("d_model")))
    if not isinstance(width, int):
        raise EncoderError(f"{files.config} has no 'hidden_size': not a text encoder that clipfuse knows")
    tensors = tensor_shapes(files.weights)
    outputs = ["mean", "cls"]
    if _pooling(files.config.parent, request) == "cls":
        outputs.reverse()
    ends = ("pooler.weight", "pooler.dense.weight")
    if config["model_type"] in _POOLERS and any(name.endswith(ends) for name in tensors):
        outputs.append("pooler")
    preprocessing = {"tokenizer": tokenizer_digest(files.config.parent), "max_length": longest_caption(config)}
    if request.prefix:
        preprocessing["prefix"] = request.prefix
    spec = EncoderSpec(
        name=request.name,
        modality="text",
        backend="transformers",
        model={key: value for key, value in config.items() if key not in _NOT_SETTINGS},
        weights=file_digest(files.weights),
        weights_bytes=files.weights.stat().st_size,
        activation=str(config.get("hidden_act") or config.get("activation") or "as the architecture"),
        preprocessing=preprocessing,
        precision=request.precision,
        shapes=dict.fromkeys(outputs, Shape(1, width)) | request.tokens_shape(width),
        parameters=count_parameters(tensors),
    )
    return HfFactory((spec,), files.config.parent)


def longest_caption(config: Mapping[str, Any]) -> int:
    """Tokens that a model with this configuration reads, special ones included; at most 512."""
    positions = config.get("max_position_embeddings")  # -1 or absent where positions are relative
    if not isinstance(positions, int) or positions <= 0:
        return _MAX_TOKENS
    if config["model_type"] in _COUNT_FROM_PADDING:
        padding = config.get("pad_token_id")
        positions -= (1 if padding is None else int(padding)) + 1
    return min(positions, _MAX_TOKENS)


def _files(request: Request) -> ModelFiles:
    own, target = request.weights, request.target
    folder = Path(target).expanduser()
    if own is not None and folder.is_dir():
        raise ConfigError(f"encoder {request.name} names its folder already", "Leave --weights out")
    if own is not None:
        if own.is_file() and own.name != WEIGHTS:
            raise ConfigError(
                f"encoder {request.name}: {own} alone is not enough, a model of transformers needs its tokenizer",
                f"Name a folder with {CONFIG}, {WEIGHTS} and a tokenizer",
            )
        return in_folder(request.name, own.parent if own.is_file() else own, CONFIG, WEIGHTS)
    if "/" not in target and not folder.exists():
        raise WeightsMissing(
            f"encoder {request.name}: there is no folder {target}",
            "A model of the hub is named hf:OWNER/NAME, for example hf:google-bert/bert-base-uncased",
        )
    if folder.is_dir() or target.startswith((".", "/", "~")) or target.count("/") != 1:
        return in_folder(request.name, folder, CONFIG, WEIGHTS)
    also = (*TOKENIZER_FILES, POOLING)
    return from_hub(request.name, target, CONFIG, WEIGHTS, also=also, own_folder="hf:FOLDER")


def _pooling(folder: Path, request: Request) -> Pooling:
    """How sentence-transformers pools this model, where its files say; else as the request says, else the mean.

    Raises:
        EncoderError: it is pooled in a way that clipfuse does not know: a mean would pass for the model's own output.
    """
    try:
        about = json.loads((folder / POOLING).read_bytes())
    except (OSError, ValueError):
        return request.pooling or "mean"
    about = about if isinstance(about, dict) else {}
    modes = [key.removeprefix(_MODE) for key, on in about.items() if key.startswith(_MODE) and on]
    if isinstance(one := about.get("pooling_mode"), str):  # as later files say it
        modes = [one]
    found = [_POOLINGS.get(mode) for mode in modes or ["mean"]]
    if len(found) == 1 and found[0] is not None:
        return found[0]
    raise EncoderError(
        f"encoder {request.name}: its {POOLING} pools by {' and '.join(modes)}, which clipfuse can't; it knows mean or "
        "cls, alone",
        f"For its mean and cls all the same, copy its folder without {POOLING} and name it hf:COPY",
    )


def _tokenize(tokenizer: Any, longest: int) -> Callable[[str], Tokens]:
    from clipfuse.encoders.caption import Tokens

    # a tokenizer keeps its truncation as a state, so what is never cut needs one of its own: two threads may be in here
    whole = copy.deepcopy(tokenizer)

    def tokenize(caption: str) -> Tokens:
        # only this length is known to hold: some tokenizers carry a model_max_length of 1e30
        ids: list[int] = tokenizer(caption, truncation=True, max_length=longest)["input_ids"]
        cut = len(ids) == longest and len(whole(caption, verbose=False)["input_ids"]) > longest
        return Tokens(ids, len(ids), cut)

    return tokenize


def _compute(model: Any, spec: EncoderSpec) -> Callable[[torch.Tensor, torch.Tensor], Mapping[str, torch.Tensor]]:
    from clipfuse.encoders.groups import pool_runs

    def compute(ids: torch.Tensor, own: torch.Tensor) -> dict[str, torch.Tensor]:
        found = model(input_ids=ids, attention_mask=own)
        hidden, mask = found.last_hidden_state.float(), own.unsqueeze(-1).float()
        # over a caption's own tokens: padding changes nothing
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        known = {"mean": mean, "cls": hidden[:, 0], "pooler": getattr(found, "pooler_output", None)}
        return {
            output: pool_runs(hidden, own, groups) if (groups := tokens_of(output)) else known[output]
            for output in spec.outputs
        }

    return compute
