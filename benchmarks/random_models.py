"""Models of well-known sizes with random weights, which serve for speed and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path


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
