"""Models of well-known sizes with random weights, which serve for speed and for nothing else."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def random_clip(folder: Path, architecture: str) -> str:
    """An open_clip model of that architecture, in open_clip's layout."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model = open_clip.create_model(architecture, load_weights=False)
    save_file(
        {k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"clip:local-dir:{folder}"


def random_timm(folder: Path, architecture: str) -> str:
    """A timm model of that architecture, in timm's layout."""
    import timm
    from timm.models import save_for_hf

    save_for_hf(timm.create_model(architecture), folder, safe_serialization=True)
    return f"timm:local-dir:{folder}"


def random_torchvision(folder: Path, architecture: str) -> str:
    """A torchvision model ("NAME.TAG"), as its converted weights would lie."""
    from safetensors.torch import save_file
    from torchvision.models import get_model

    folder.mkdir(parents=True)
    model = get_model(architecture.partition(".")[0], weights=None)
    save_file(model.state_dict(), folder / "model.safetensors")
    return f"torchvision:{architecture}@{folder}"


def random_hf(folder: Path, sizes: Mapping[str, Any], words: Collection[str]) -> str:
    """A transformers text model of those ``sizes`` (a configuration with its "model_type"), in its layout.

    Its tokenizer knows ``words`` whole, so that captions made of them have about as many tokens as they have words.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = AutoConfig.for_model(**sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = list(dict.fromkeys([*special, *words]))[: config.vocab_size]
    (folder / "vocab.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return f"hf:{folder}"
