"""Finding weights: a folder, or the hub's local cache, or the hub. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipfuse.errors import ConfigError, EncoderError, WeightsMissing

_CONNECT_SECONDS = 1.0
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_REASON_LENGTH = 300
_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class ModelFiles:
    """A model's files on disk. ``source`` is a folder, or a repository of the hub, for messages."""

    source: str
    config: Path
    weights: Path

    def read_config(self) -> dict[str, Any]:
        """The configuration. Raises EncoderError where it is not a JSON object."""
        try:
            value = json.loads(self.config.read_bytes())
        except (OSError, ValueError) as error:
            raise EncoderError(f"{self.config} can't be read as JSON ({error})") from error
        if not isinstance(value, dict):
            raise EncoderError(f"{self.config} must hold a JSON object")
        return value


def in_folder(encoder: str, folder: Path, config: str, weights: str) -> ModelFiles:
    """A model's files in a folder of one's own.

    Raises:
        WeightsMissing: the folder or one of the two files is not there.
    """
    for path in (folder, folder / config, folder / weights):
        if not path.exists():
            raise WeightsMissing(
                f"encoder {encoder}: {path} is not there",
                f"The folder needs {config} and {weights}{_convert(folder, folder / weights)}",
            )
    return ModelFiles(str(folder), folder / config, folder / weights)


def own_weights(encoder: str, path: Path, weights: str) -> Path:
    """The file of weights that ``path`` names: itself, or the one called ``weights`` in that folder.

    Raises:
        WeightsMissing: it is not there.
        EncoderError: it is pickled.
    """
    file = path / weights if path.is_dir() else path
    if not file.is_file():
        convert = _convert(path, file) if path.is_dir() else ""
        raise WeightsMissing(f"encoder {encoder}: {file} is not there", f"Name a safetensors file{convert}")
    if any(file.match(kind) for kind in _PICKLED):
        raise EncoderError(
            f"encoder {encoder}: {file} is pickled, and what is pickled can run code",
            f"Convert it once: {convert_command(file, file.with_suffix('.safetensors'))}",
        )
    return file


def convert_command(pickle: Path, target: Path) -> str:
    """What to type to make safetensors of a pickled file."""
    return f"clipfuse encoders convert {pickle} -o {target}"


def _convert(folder: Path, target: Path) -> str:
    pickled = [file for kind in _PICKLED for file in sorted(folder.glob(kind))]
    if not pickled:
        return ""
    return (
        f"; pickled weights ({pickled[0].name}) are not loaded, convert them to safetensors: "
        f"{convert_command(pickled[0], target)}"
    )


def from_hub(
    encoder: str,
    repository: str,
    config: str,
    weights: str,
    *,
    also: Sequence[str] = (),
    own_folder: str,
    near: Sequence[str] = (),
) -> ModelFiles:
    """A model's files from the hub's cache on this machine, downloaded first where that is possible.

    Args:
        encoder: the name as typed, for messages.
        repository: "owner/name".
        config, weights: file names in it.
        also: patterns of further files to download with them (a tokenizer's).
        own_folder: how the same encoder is named with a folder of one's own, for messages.
        near: known names that may have been meant, for messages.

    Raises:
        WeightsMissing: not in the cache, and the hub can't be reached or does not have them.
        ConfigError: no repository can have that name.
    """
    cached = [cached_file(encoder, repository, name) for name in (config, weights)]
    if cached[0] and cached[1]:
        return ModelFiles(repository, cached[0], cached[1])
    if cached[0] and _convert(cached[0].parent, cached[0]):
        return in_folder(encoder, cached[0].parent, config, weights)  # raises, and says how to convert what is there
    fix = f"Download it where there is a network, or name a folder that holds it: --encoder {own_folder}"
    if near:
        fix = f"Did you mean {near[0]!r}? {fix}"
    wanted = f"encoder {encoder} needs {weights} of {repository}, which is not in this machine's cache"
    folder = download(repository, [config, weights, *also], wanted, fix)
    if (folder / config).exists() and not (folder / weights).exists():
        raise WeightsMissing(
            f"encoder {encoder}: {repository} is published without {weights}",
            f"Download its pickled file, then {convert_command(Path('PICKLE'), folder / weights)}",
        )
    return in_folder(encoder, folder, config, weights)


def check_settings(encoder: str, model: str) -> None:
    """That the settings of a transformers model that open_clip builds on (a folder, or a repository of the hub) are
    here. Raises as :func:`from_hub` does."""
    if Path(model).is_dir() or cached_file(encoder, model, "config.json"):
        return
    wanted = f"encoder {encoder} needs config.json of {model}, which is not in this machine's cache"
    download(model, ["config.json"], wanted, "Download it where there is a network: hf download MODEL config.json")


def cached_file(encoder: str, repository: str, name: str) -> Path | None:
    """A file of a repository in the hub's cache on this machine. Raises ConfigError for a name that none can have."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, name)
    except HFValidationError as error:
        raise ConfigError(f"encoder {encoder}: {repository!r} can't be a model of the hub ({error})") from error
    return Path(path) if isinstance(path, str) else None


def download(repository: str, patterns: Sequence[str], wanted: str, fix: str) -> Path:
    """The folder of a repository's files, from the hub. Raises WeightsMissing, with these two sentences."""
    reason = _why_unreachable()
    if reason:
        raise WeightsMissing(f"{wanted}, and {reason}", fix)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsMissing(f"{wanted}, and the hub did not give it ({lines[0]})", fix) from error


def _why_unreachable() -> str:
    """Empty where the hub may be asked; else the reason, found out in about a second."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return ""  # only the proxy knows
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host = endpoint.hostname or ""
    try:
        port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return f"{host} can't be reached ({error})"
    return ""


def in_short(error: Exception) -> str:
    """What a library said, on one line: theirs run over many."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, read from its header.

    Raises:
        EncoderError: it can't be read, or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _HEADER_BYTES:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
            return {name: tuple(about["shape"]) for name, about in header.items() if name != "__metadata__"}
    except OSError as error:
        raise EncoderError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise EncoderError(f"{path} is not a safetensors file ({error})", "Fetch it again, or convert it") from error


def count_parameters(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers these tensors hold."""
    return sum(map(math.prod, shapes.values()))


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file. Raises EncoderError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"can't read {path}: {error.strerror or error}") from error
