"""Pickled weights to safetensors, once: the only place that reads a pickle, through torch's weights-only loader."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.encoders.weights import in_short
from clipfuse.errors import ConfigError, EncoderError
from clipfuse_cache.atomic import temporary_beside

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "model_state_dict", "state_dict_ema", "model_ema", "model", "module")
_PREFIXES = ("module.", "_orig_mod.")
_DEEPEST = 4  # wrappers in wrappers; a pickle may hold itself


@dataclass(frozen=True)
class Converted:
    """What was written: how many tensors, numbers and bytes, and the entries that are no weights and were left out."""

    tensors: int
    parameters: int
    bytes: int
    left_out: tuple[str, ...]


def convert_weights(pickle: Path, target: Path, *, overwrite: bool = False) -> Converted:
    """Write the tensors of a pickled file as safetensors; at any moment the old ``target`` or the new one is there.

    Wrappers around the tensors ("state_dict", "model", ...) and the prefixes of parallel training are taken off.
    Tensors that share memory are written once each.

    Raises:
        ConfigError: ``target`` is there already, or is no name for safetensors.
        EncoderError: the file can't be read, holds more than tensors, none, or some that safetensors can't hold.
    """
    if target.suffix != ".safetensors":
        raise ConfigError(f"{target} is no name for safetensors", f"Write {target.with_suffix('.safetensors')}")
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} is there already", "Name another file, or add --force")
    found = _unwrapped(_load(pickle), pickle)
    tensors, left_out = _tensors(found, pickle)
    if not tensors:
        raise EncoderError(f"{pickle} holds no tensors", "Name the file of a model's weights")
    size = _save(tensors, target)
    return Converted(len(tensors), sum(value.numel() for value in tensors.values()), size, left_out)


def _load(pickle: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickles, over several lines
            return torch.load(pickle, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EncoderError(f"can't read {pickle}: {error.strerror or error}") from error
    except Exception as error:  # a foreign file: anything may come
        reason = in_short(error)
        if "TorchScript" in reason:
            raise EncoderError(
                f"{pickle} is a TorchScript archive: a program, which clipfuse does not run",
                "OpenAI's models are on the hub as safetensors: use clip:ViT-B-32-quickgelu/openai and its kin",
            ) from error
        if "eights_only" in reason or "Unsupported" in reason:
            raise EncoderError(
                f"{pickle} holds more than tensors, which could run code: not loaded ({reason})",
                "Save its state_dict alone, where you trust the file: torch.save(model.state_dict(), FILE)",
            ) from error
        raise EncoderError(f"{pickle} can't be read as weights ({reason})") from error


def _unwrapped(found: Any, pickle: Path) -> Mapping[str, Any]:
    level = _innermost(found)
    if level is not None:
        return {str(name): value for name, value in level.items()}
    keys = ", ".join(str(key) for key in list(found)[:5]) if isinstance(found, Mapping) else type(found).__name__
    raise EncoderError(
        f"{pickle} holds no tensors by name ({keys})", f"Expected one of {', '.join(_WRAPPERS)}, or them"
    )


def _innermost(found: Any, deep: int = _DEEPEST) -> Mapping[Any, Any] | None:
    """The first wrapper that holds tensors; ``found`` itself only where none does: counters stand beside wrappers."""
    import torch

    if not isinstance(found, Mapping) or not deep:
        return None
    for key in _WRAPPERS:
        if (inner := _innermost(found.get(key), deep - 1)) is not None:
            return inner
    return found if any(isinstance(value, torch.Tensor) for value in found.values()) else None


def _tensors(found: Mapping[str, Any], pickle: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    import torch

    kept = {name: (name, value) for name, value in found.items() if isinstance(value, torch.Tensor)}
    for prefix in _PREFIXES:
        # counters of the wrapper itself, such as n_averaged, have no prefix
        weights = [name for name, (_, value) in kept.items() if value.numel() > 1]
        if all(name.startswith(prefix) for name in weights or kept):
            kept = {name.removeprefix(prefix): one for name, one in kept.items() if name.startswith(prefix)}
    full = {name for name, _ in kept.values()}
    left_out = tuple(name for name in found if name not in full)
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, (as_found, value) in kept.items():
        if kind := _unwritable(value):
            raise EncoderError(
                f"{pickle}: {as_found} is {kind}, which clipfuse can't write as safetensors",
                "Save the model's state_dict as plain dense tensors, for example of float32",
            )
        whole = value.detach().contiguous()
        place = whole.untyped_storage().data_ptr()
        tensors[name] = whole.clone() if place in seen or whole.untyped_storage().nbytes() > whole.nbytes else whole
        seen.add(place)
    return tensors, left_out


def _unwritable(value: torch.Tensor) -> str:
    """What kind of tensor safetensors has no form for; empty for all that it can hold."""
    import torch
    from safetensors.torch import save

    if value.is_quantized:
        return f"a quantized tensor ({value.dtype})"
    if value.layout is not torch.strided:
        return f"a sparse tensor ({value.layout})"
    if value.is_meta:
        return "a tensor without numbers (on the meta device)"
    try:
        save({"none": torch.empty(0, dtype=value.dtype)})
    except (KeyError, ValueError):
        return f"a tensor of {value.dtype}"
    return ""


def _save(tensors: Mapping[str, torch.Tensor], target: Path) -> int:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(target) as temporary:
            save_file(dict(tensors), temporary, metadata={"format": "pt"})
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        return target.stat().st_size
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"can't write {target}: {getattr(error, 'strerror', None) or in_short(error)}") from error
