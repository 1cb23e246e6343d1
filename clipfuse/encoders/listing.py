"""What ``clipfuse encoders`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipfuse.encoders.aliases import ALIASES, Alias

FORMS = {
    "clip:MODEL/TAG": "clip:ViT-L-14-quickgelu/openai",
    "clip:local-dir:FOLDER": "open_clip_config.json and open_clip_model.safetensors in a folder",
    "timm:NAME.TAG": "timm:efficientnet_b4.ra2_in1k",
    "timm:local-dir:FOLDER": "config.json and model.safetensors in a folder",
    "hf:OWNER/NAME": "hf:google/bert_uncased_L-2_H-128_A-2",
    "hf:FOLDER": "config.json, model.safetensors and a tokenizer in a folder",
    "torchvision:NAME.TAG@FILE": "torchvision:resnet50.IMAGENET1K_V2@resnet50.safetensors",
    "NAME@PATH": "clip-vit-b-32@tuned.safetensors: any of these with weights of your own",
}
"""How any model of a backend is named -> an example, or what the folder holds."""

_FILES = {"clip": "open_clip_model.safetensors", "timm": "model.safetensors", "hf": "model.safetensors"}
_FLOAT = 4


def list_encoders() -> list[dict[str, Any]]:
    """The encoders with a name of their own, as JSON values; loads no weights and asks no network.

    "bytes" are those of the network in float32; "here" is whether the weights are on this machine.
    """
    return [
        {
            "name": name,
            "target": alias.target,
            "reads": list(alias.widths),
            "outputs": {modality: dict(outputs) for modality, outputs in alias.widths.items()},
            "pixels": alias.pixels,
            "max_tokens": alias.max_tokens,
            "parameters": alias.parameters,
            "bytes": alias.parameters * _FLOAT,
            "source": alias.source,
            "licence": alias.licence,
            "published_pickled": alias.pickled,
            "here": is_here(alias),
            "about": alias.about,
        }
        for name, alias in ALIASES.items()
    ]


def is_here(alias: Alias) -> bool:
    """Whether the weights are in the package or in the hub's cache on this machine."""
    from huggingface_hub import constants

    backend, _, target = alias.target.partition(":")
    if target.startswith("local-dir:"):
        return True
    folder = Path(constants.HF_HUB_CACHE) / f"models--{alias.source.replace('/', '--')}"
    return backend in _FILES and any((folder / "snapshots").glob(f"*/{_FILES[backend]}"))
