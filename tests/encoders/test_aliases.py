"""The table of short names against the libraries' own lists: nothing in it may be a guess that they contradict."""

from __future__ import annotations

import os

import pytest
import torch

from clipfuse.encoders import ALIASES, find_encoder
from clipfuse.encoders.aliases import CARD
from clipfuse.encoders.clip_shapes import clip_shapes
from clipfuse.encoders.listing import list_encoders
from clipfuse.encoders.open_clip_catalogue import model_config, published_weights
from clipfuse.encoders.request import Request
from clipfuse.errors import EncoderError, WeightsMissing


def aliases_of(backend):
    return [name for name, alias in ALIASES.items() if alias.target.startswith(f"{backend}:") and name != "mini"]


def parameters_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_mini():
    alias, (image, text) = ALIASES["mini"], find_encoder("mini").specs
    assert next(iter(ALIASES)) == "mini"
    for spec in (image, text):
        assert alias.widths[spec.modality] == {output: shape.dim for output, shape in spec.shapes.items()}
        assert spec.parameters == alias.parameters
    assert image.preprocessing["size"] == [alias.pixels] * 2
    assert text.preprocessing["context"] == alias.max_tokens


@pytest.mark.parametrize("name", aliases_of("clip"))
def test_clip(name):
    import open_clip
    from timm.models import get_pretrained_cfg

    alias = ALIASES[name]
    architecture, _, tag = alias.target.removeprefix("clip:").partition("/")
    config, published = model_config(architecture), published_weights(architecture, tag)
    assert published["hf_hub"].strip("/") == alias.source
    assert bool(published.get("quick_gelu")) == bool(config.get("quick_gelu"))
    assert config["vision_cfg"]["image_size"] == alias.pixels
    assert config["text_cfg"]["context_length"] == alias.max_tokens
    with torch.device("meta"):
        model = open_clip.create_model(architecture, load_weights=False, device="meta")
    assert parameters_of(model) == alias.parameters
    tensors = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    shapes = clip_shapes(config, tensors, Request(name, alias.target, tokens=4))
    for (modality, widths), found in zip(alias.widths.items(), shapes, strict=True):
        assert {output: found[output].dim for output in found if output != "tokens-4"} == widths, modality
    with torch.inference_mode():
        pixels, ids = torch.zeros(1, 3, *[alias.pixels] * 2, device="meta"), torch.zeros(1, alias.max_tokens).long()
        assert model.encode_image(pixels).shape == (1, alias.widths["image"]["projected"])
        assert model.encode_text(ids.to("meta")).shape == (1, alias.widths["text"]["projected"])
    trunk = config["vision_cfg"].get("timm_model_name")
    tags = {"webli": "v2_webli", "dfndr2b": "apple_mclip2_dfndr2b"}
    listed = f"{trunk}.{tags[tag]}" if trunk else alias.source.removeprefix("timm/")
    assert get_pretrained_cfg(listed).license == alias.licence


@pytest.mark.parametrize("name", aliases_of("timm"))
def test_timm(name):
    import timm
    from timm.models import get_pretrained_cfg

    alias = ALIASES[name]
    target = alias.target.removeprefix("timm:")
    published = get_pretrained_cfg(target, allow_unregistered=False)
    assert published.hf_hub_id == alias.source
    assert published.license == alias.licence
    assert (published.test_input_size or published.input_size) == (3, alias.pixels, alias.pixels)
    with torch.device("meta"):
        model = timm.create_model(target, num_classes=0)
    assert parameters_of(model) == alias.parameters
    assert alias.widths == {"image": {"pooled": model.head_hidden_size}}


@pytest.mark.parametrize("name", aliases_of("torchvision"))
def test_torchvision(name):
    from torchvision.models import get_model, get_model_weights

    alias = ALIASES[name]
    architecture, _, tag = alias.target.removeprefix("torchvision:").partition(".")
    published = get_model_weights(architecture)[tag]
    assert published.url == alias.source
    assert published.transforms().crop_size == [alias.pixels]
    with torch.device("meta"):
        model = get_model(architecture, weights=None)
    assert parameters_of(model) - parameters_of(model.fc) == alias.parameters
    assert alias.widths == {"image": {"pooled": model.fc.in_features}}


def bert(width, layers, heads):
    return {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": width * 4,
    }


def deberta(layers):
    relative = {"relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm"}
    relative |= {"share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
    sizes = {"vocab_size": 128100, "type_vocab_size": 0, "num_hidden_layers": layers}
    return {"model_type": "deberta-v2", "hidden_size": 768, "intermediate_size": 3072} | relative | sizes


ARCHITECTURES = {
    "bert-base": bert(768, 12, 12),
    "distilbert": {"model_type": "distilbert", "dim": 768},
    "albert-base": {"model_type": "albert", "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "tinybert-4l-312": bert(312, 4, 12) | {"intermediate_size": 1200},
    "bert-tiny": bert(128, 2, 2),
    "deberta-v3-small": deberta(6),
    "deberta-v3-base": deberta(12),
    "minilm": bert(384, 6, 12),
    "e5-small": bert(384, 12, 12),
    "e5-base": bert(768, 12, 12),
    "bge-small": bert(384, 12, 12),
    "bge-base": bert(768, 12, 12),
}


def test_the_architectures_of_the_papers():
    """The hub is not asked: these are the sizes that the models were published with."""
    from transformers import AutoConfig, AutoModel

    assert set(ARCHITECTURES) == set(aliases_of("hf"))
    for name, sizes in ARCHITECTURES.items():
        alias = ALIASES[name]
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.for_model(**sizes))
        assert parameters_of(model) == alias.parameters, name
        ((modality, widths),) = alias.widths.items()
        assert modality == "text"
        assert set(widths.values()) == {model.config.hidden_size}
        assert ("pooler" in widths) == (getattr(model, "pooler", None) is not None)
        assert alias.target == f"hf:{alias.source}"


def test_minilm_is_what_the_table_says(loaded):
    (spec,) = loaded("minilm").factory.specs
    assert {output: shape.dim for output, shape in spec.shapes.items()} == ALIASES["minilm"].widths["text"]
    assert list(spec.shapes) == list(ALIASES["minilm"].widths["text"])
    assert spec.preprocessing["max_length"] == ALIASES["minilm"].max_tokens


def test_every_alias_finds_its_weights_or_says_where_they_are(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    for name, alias in ALIASES.items():
        if name == "mini":
            continue
        with pytest.raises(WeightsMissing) as caught:
            find_encoder(name)
        assert alias.source in str(caught.value)
        assert name in str(caught.value)
        assert caught.value.fix


def test_the_list_says_what_is_here(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    here = {row["name"] for row in list_encoders() if row["here"]}
    assert here == {"mini"}
    snapshot = tmp_path / "models--timm--resnet18.tv_in1k" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    assert {row["name"] for row in list_encoders() if row["here"]} == here
    (snapshot / "model.safetensors").touch()
    assert {row["name"] for row in list_encoders() if row["here"]} == here | {"resnet18"}


def test_every_row_is_complete():
    for row in list_encoders():
        assert row["licence"] == CARD or " " not in row["licence"]
        assert row["bytes"] == 4 * row["parameters"] > 0
        assert (row["pixels"] is not None) == ("image" in row["reads"])
        assert (row["max_tokens"] is not None) == ("text" in row["reads"])
        assert row["about"] and row["source"]
        assert all(width > 0 for outputs in row["outputs"].values() for width in outputs.values())


def test_a_table_names_what_an_encoder_does_not_give():
    (image, _) = find_encoder("mini").specs
    with pytest.raises(EncoderError, match=r"mini gives no 'pooler'. It gives projected, pooled"):
        image.describe("pooler", "float16", {})
