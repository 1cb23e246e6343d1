"""The files of transformers' tokenizers. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from clipfuse.encoders.weights import cached_file, download, file_digest
from clipfuse.errors import EncoderError, WeightsMissing

TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""What transformers' tokenizers are kept in."""
_VOCABULARIES = {
    name for name in TOKENIZER_FILES if name.startswith(("tokenizer.json", "vocab", "spiece", "spm", "sent"))
}
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model")


def tokenizer_from_hub(encoder: str, repository: str, own_folder: str) -> Path:
    """The folder of a tokenizer in the hub's cache on this machine, downloaded first where that is possible.

    Raises:
        WeightsMissing: not in the cache, and the hub can't be reached or does not have it.
        ConfigError: no repository can have that name.
        EncoderError: a package that reads it is not installed.
    """
    found = [path for name in TOKENIZER_FILES if (path := cached_file(encoder, repository, name))]
    if any(path.name in _VOCABULARIES for path in found):
        folder = found[0].parent
    else:
        fix = f"Download it where there is a network, or name a folder that holds all of it: --encoder {own_folder}"
        wanted = f"encoder {encoder} needs the tokenizer of {repository}, which is not in this machine's cache"
        folder = download(repository, TOKENIZER_FILES, wanted, fix)
    check_tokenizer(encoder, folder)
    return folder


def check_tokenizer(encoder: str, folder: Path) -> None:
    """That ``folder`` holds a tokenizer that can be read here.

    Raises:
        WeightsMissing: it holds none.
        EncoderError: a package that reads it is not installed.
    """
    if not any((folder / name).exists() for name in _VOCABULARIES):
        raise WeightsMissing(
            f"encoder {encoder}: {folder} holds no tokenizer", f"It needs one of {', '.join(sorted(_VOCABULARIES))}"
        )
    only = [name for name in _SENTENCEPIECE if (folder / name).exists()]
    if only and not (folder / "tokenizer.json").exists() and importlib.util.find_spec("sentencepiece") is None:
        raise EncoderError(
            f"encoder {encoder}: its tokenizer ({folder / only[0]}) needs the package sentencepiece",
            "pip install sentencepiece protobuf",
        )


def tokenizer_paths(folder: Path) -> dict[str, Path]:
    """Name -> file, of those of the tokenizer in ``folder``."""
    return {name: folder / name for name in TOKENIZER_FILES if (folder / name).exists()}


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 (hex) over the tokenizer's files in ``folder``."""
    total = hashlib.sha256()
    for name, path in tokenizer_paths(folder).items():
        total.update(f"{name}:{file_digest(path)}\n".encode())
    return total.hexdigest()
