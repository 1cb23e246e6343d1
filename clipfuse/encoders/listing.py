"""What ``clipfuse encoders`` shows."""

from __future__ import annotations

from typing import Any

from clipfuse.encoders import ALIASES, find_encoder

FORMS = {
    "clip:MODEL/TAG": "clip:ViT-L-14-quickgelu/openai",
    "clip:local-dir:FOLDER": "open_clip_config.json and open_clip_model.safetensors in a folder",
    "timm:NAME.TAG": "timm:efficientnet_b4.ra2_in1k",
    "timm:local-dir:FOLDER": "config.json and model.safetensors in a folder",
    "hf:OWNER/NAME": "hf:google/bert_uncased_L-2_H-128_A-2",
    "hf:FOLDER": "config.json, model.safetensors and a tokenizer in a folder",
}
"""How any model of a backend is named -> an example, or what the folder holds."""


def list_encoders() -> list[dict[str, Any]]:
    """The encoders with a name of their own, as JSON values; loads no weights."""
    rows = []
    for name, alias in ALIASES.items():
        specs = find_encoder(name).specs
        rows.append(
            {
                "name": name,
                "reads": [spec.modality for spec in specs],
                "outputs": sorted({output for spec in specs for output in spec.outputs}),
                "bytes": specs[0].weights_bytes,
                "about": alias.about,
            }
        )
    return rows
