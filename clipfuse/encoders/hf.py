"""transformers' text models: ``hf:OWNER/NAME`` and ``hf:FOLDER``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.encoders.spec import Encoder, EncoderSpec, Precision, Prepared, Shape
from clipfuse.encoders.weights import (
    TOKENIZER_FILES,
    count_parameters,
    file_digest,
    from_hub,
    in_folder,
    in_short,
    tensor_shapes,
    tokenizer_digest,
)
from clipfuse.errors import EncoderError, WeightsMissing

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_NOT_SETTINGS = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"}
_MAX_TOKENS = 512


@dataclass(frozen=True)
class HfFactory:
    """One transformers model on disk. See :class:`EncoderFactory`."""

    specs: tuple[EncoderSpec, ...]
    folder: Path

    def load(self, device: str, specs: Sequence[EncoderSpec]) -> list[Encoder]:
        """Load with transformers' own loader, from safetensors only.

        Raises:
            EncoderError: transformers can't load it, or weights that the features need are not in the file.
        """
        if not specs:
            return []
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # clipfuse shows its own
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
            missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
            if not missing:
                return [_HfText(spec, model, tokenizer, device)]
        except Exception as error:  # somebody's files in a library's hands: anything may come
            raise EncoderError(f"transformers can't load {spec.name}: {in_short(error)}") from error
        raise EncoderError(f"{spec.name}: {len(missing)} weights are not in its file, the first is {missing[0]}")


def find_hf(name: str, target: str, precision: Precision) -> HfFactory:
    """The transformers model that ``target`` (a folder, or "OWNER/NAME" on the hub) names; no weights are loaded.

    Raises:
        WeightsMissing, EncoderError: see each message.
    """
    folder = Path(target).expanduser()
    if "/" not in target and not folder.exists():
        raise WeightsMissing(
            f"encoder {name}: there is no folder {target}",
            "A model of the hub is named hf:OWNER/NAME, for example hf:google-bert/bert-base-uncased",
        )
    if folder.is_dir() or target.startswith((".", "/", "~")) or target.count("/") != 1:
        files = in_folder(name, folder, CONFIG, WEIGHTS)
    else:
        files = from_hub(name, target, CONFIG, WEIGHTS, also=TOKENIZER_FILES, own_folder="hf:FOLDER")
    config = files.read_config()
    if "model_type" not in config:
        raise EncoderError(f"{files.config} has no 'model_type': not a configuration of transformers")
    width = config.get("hidden_size", config.get("dim", config.get("d_model")))
    if not isinstance(width, int):
        raise EncoderError(f"{files.config} has no 'hidden_size': not a text encoder that clipfuse knows")
    positions = config.get("max_position_embeddings")  # -1 or absent where positions are relative
    spec = EncoderSpec(
        name=name,
        modality="text",
        backend="transformers",
        model={key: value for key, value in config.items() if key not in _NOT_SETTINGS},
        weights=file_digest(files.weights),
        weights_bytes=files.weights.stat().st_size,
        activation=str(config.get("hidden_act") or config.get("activation") or "as the architecture"),
        preprocessing={
            "tokenizer": tokenizer_digest(files.config.parent),
            "max_length": min(positions, _MAX_TOKENS) if isinstance(positions, int) and positions > 0 else _MAX_TOKENS,
        },
        precision=precision,
        shapes={"mean": Shape(1, width), "cls": Shape(1, width)},
        parameters=count_parameters(tensor_shapes(files.weights)),
    )
    return HfFactory((spec,), files.config.parent)


class _HfText:
    def __init__(self, spec: EncoderSpec, model: Any, tokenizer: Any, device: str) -> None:
        self.spec = spec
        self._tokenizer = tokenizer
        self._max_length = int(spec.preprocessing["max_length"])
        from clipfuse.encoders.forward import ForwardPass

        self._pass = ForwardPass(lambda batch: _pool(model, batch), [model], device, spec.precision)

    def prepare(self, item: str) -> Prepared:
        # only the length cap is known to hold: some tokenizers carry a model_max_length of 1e30
        tokens: list[int] = self._tokenizer(item, truncation=True, max_length=self._max_length)["input_ids"]
        return Prepared(tokens, len(tokens))

    def collate(self, items: Sequence[Prepared]) -> Mapping[str, torch.Tensor]:
        import torch

        longest = max(item.length for item in items)
        padding = self._tokenizer.pad_token_id or 0
        return {
            "input_ids": torch.tensor([[*item.value, *[padding] * (longest - item.length)] for item in items]),
            "attention_mask": torch.tensor([[1] * item.length + [0] * (longest - item.length) for item in items]),
        }

    def encode(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return self._pass(batch)


def _pool(model: Any, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The mean over a caption's own tokens (padding changes nothing), and the first token's state."""
    hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state.float()
    mask = batch["attention_mask"].unsqueeze(-1).float()
    return {"mean": (hidden * mask).sum(1) / mask.sum(1).clamp(min=1), "cls": hidden[:, 0]}
