"""Weights of one's own: a file or a folder for any name, the right preprocessing, and what can't go together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from clipfuse.encoders import clip, find_encoder, open_clip_catalogue
from clipfuse.errors import ConfigError, EncoderError, UnknownName, WeightsMissing
from clipfuse.testing import example_captions, example_pictures, load_encoders

PUBLISHED = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "interpolation": "bilinear", "resize_mode": "squash"}


def features(encoder, items):
    return encoder.encode(encoder.collate([encoder.prepare(item) for item in items]))


def assert_equal(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def folder_of(name):
    return Path(name.rpartition(":")[2])


@pytest.fixture
def tiny(loaded, tmp_path, monkeypatch):
    """A model that open_clip knows by the name Tiny, and a file of weights for it."""
    import open_clip

    folder = folder_of(loaded("quick gelu").name)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "Tiny.json").write_text(json.dumps(config))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [tmp_path / "Tiny.json"])
    open_clip.factory._rescan_model_configs()
    monkeypatch.setattr(clip, "model_config", lambda _: config)
    monkeypatch.setattr(clip, "check_origin", lambda *_: None)
    monkeypatch.setattr(clip, "published_weights", lambda *_: {"hf_hub": "me/tiny", **PUBLISHED})
    shutil.copy(folder / "open_clip_model.safetensors", tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


@pytest.mark.parametrize(("name", "steps"), [("clip:Tiny", {}), ("clip:Tiny", PUBLISHED), ("clip:Tiny/tag", PUBLISHED)])
@torch.inference_mode()
def test_a_file_for_a_clip_model(name, steps, tiny, monkeypatch):
    """As open_clip itself loads a file for a bare name; prepared as the tag says, or as all published tags do."""
    import open_clip

    monkeypatch.setattr(clip, "common_weights", lambda _: steps)
    factory = find_encoder(name, weights=tiny)
    image, text = load_encoders(factory)
    assert image.spec.name == f"{name}@{tiny}"
    arguments = {f"image_{key}": value for key, value in steps.items()}
    model, transform = open_clip.create_model_from_pretrained("Tiny", str(tiny), **arguments)
    pixels = torch.stack([transform(picture) for picture in example_pictures()])
    own = model.eval().encode_image(pixels, normalize=False)
    assert_equal(features(image, example_pictures())["projected"][:, 0], own)
    ids = open_clip.get_tokenizer("Tiny")(example_captions())
    own = model.encode_text(ids, normalize=False)
    assert_equal(features(text, example_captions())["projected"][:, 0], own)
    again = find_encoder(image.spec.name)  # its name alone says where it is
    assert [spec.fingerprint("pooled", "float16") for spec in again.specs] == [
        spec.fingerprint("pooled", "float16") for spec in factory.specs
    ]


def test_a_file_is_prepared_for_as_all_published_weights_of_its_model_are():
    assert open_clip_catalogue.common_weights("ViT-B-16-SigLIP2")["resize_mode"] == "squash"
    assert open_clip_catalogue.common_weights("ViT-B-32-quickgelu")["resize_mode"] == "shortest"
    with pytest.raises(ConfigError, match=r"different ways. Name the ones that yours began as: clip:ViT-L-14/"):
        open_clip_catalogue.common_weights("ViT-L-14")


@pytest.mark.parametrize(
    ("model", "use"), [("ViT-B-32", "clip:ViT-B-32-quickgelu"), ("ViT-B-32-quickgelu", "clip:ViT-B-32")]
)
def test_weights_that_are_known_to_need_another_activation(model, use, tmp_path):
    repository = "timm--vit_base_patch32_clip_224.openai"
    if model.endswith("gelu"):
        repository = "laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    file = tmp_path / f"models--{repository}" / "snapshots" / "abc" / "open_clip_model.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(EncoderError, match=f"was trained with .*Use {use}$"):
        find_encoder(f"clip:{model}", weights=file)


def test_a_folder_for_a_clip_model(loaded, tiny, tmp_path):
    """Its own configuration holds; of another model it is refused."""
    folder = tmp_path / "folder"
    shutil.copytree(folder_of(loaded("quick gelu").name), folder)
    specs = find_encoder("clip:Tiny/tag", weights=folder).specs
    for spec, same in zip(specs, loaded("quick gelu").factory.specs, strict=True):
        assert spec.name == f"clip:Tiny/tag@{folder}"
        assert spec.fingerprint("pooled", "float16") == same.fingerprint("pooled", "float16")
    config = json.loads((folder / "open_clip_config.json").read_text())
    for key, value in (("quick_gelu", False), ("embed_dim", 8)):
        changed = config | {"model_cfg": config["model_cfg"] | {key: value}}
        (folder / "open_clip_config.json").write_text(json.dumps(changed))
        with pytest.raises(EncoderError, match=f"its {key} is {value}, not .*Use clip:local-dir:"):
            find_encoder("clip:Tiny/tag", weights=folder)
    (folder / "open_clip_config.json").unlink()
    assert find_encoder("clip:Tiny/tag", weights=folder).specs[0].preprocessing["resize_mode"] == "squash"


@torch.inference_mode()
def test_a_file_for_a_timm_model(model_name, tmp_path):
    import timm
    from timm.data import create_transform, resolve_model_data_config

    file = tmp_path / "mine.safetensors"
    shutil.copy(folder_of(model_name("test_vit")) / "model.safetensors", file)
    (encoder,) = load_encoders(find_encoder("timm:test_vit.r160_in1k", weights=file, tokens=4))
    overlay = {"file": str(file), "num_classes": 7}
    model = timm.create_model("test_vit.r160_in1k", True, pretrained_cfg_overlay=overlay, num_classes=7).eval()
    transform = create_transform(**resolve_model_data_config(model, use_test_size=True))
    pixels = torch.stack([transform(picture) for picture in example_pictures()])
    own = model.forward_head(model.forward_features(pixels), pre_logits=True)
    assert_equal(features(encoder, example_pictures())["pooled"][:, 0], own)
    with pytest.raises(UnknownName, match=r"no weights 'test_vit.r161_in1k'. Did you mean 'timm:test_vit.r160_in1k'"):
        find_encoder("timm:test_vit.r161_in1k", weights=file)


def test_a_folder_for_a_timm_model(loaded):
    folder = folder_of(loaded("test_vit").name)
    (spec,) = find_encoder("timm:test_vit.mine", weights=folder).specs
    (same,) = loaded("test_vit").factory.specs
    assert spec.fingerprint("pooled", "float16") == same.fingerprint("pooled", "float16")
    with pytest.raises(EncoderError, match=r"another model than .*: test_vit. Use timm:local-dir:"):
        find_encoder("timm:test_resnet.mine", weights=folder)


def test_a_folder_for_a_transformers_model(loaded):
    folder = folder_of(loaded("bert").name)
    (same,) = loaded("bert").factory.specs
    for weights in (folder, folder / "model.safetensors"):
        (spec,) = find_encoder("hf:google-bert/bert-base-uncased", weights=weights).specs
        assert spec.fingerprint("mean", "float16") == same.fingerprint("mean", "float16")
    with pytest.raises(ConfigError, match=r"alone is not enough.*tokenizer"):
        find_encoder("bert-base", weights=folder / "vocab.txt")


def test_torchvision_publishes_pickles_only(model_name, tmp_path):
    with pytest.raises(WeightsMissing, match=r"shufflenetv2_x2_0-8be3c8ee.pth.*clipfuse encoders convert.*--weights"):
        find_encoder("shufflenet-v2-x2")
    name, _, folder = model_name("shufflenet").partition("@")
    spec = find_encoder(name, weights=Path(folder) / "model.safetensors").specs[0]
    assert spec.weights == find_encoder(f"{name}@{folder}").specs[0].weights
    for wrong, hint in (
        ("torchvision:shufflenet_v2_x3.X", "no model 'shufflenet_v2_x3'. Did you mean 'shufflenet_v2_x"),
        ("torchvision:resnet50.IMAGENET1K", "no weights 'IMAGENET1K'. Did you mean 'IMAGENET1K_V"),
        ("torchvision:resnet50", "Write torchvision:NAME.TAG"),
    ):
        with pytest.raises(ConfigError, match=hint):
            find_encoder(wrong)
    with pytest.raises(EncoderError, match="torchvision can't load"):
        load_encoders(find_encoder("shufflenet-v2-x2", weights=Path(folder)))


@pytest.mark.parametrize("name", ["clip:ViT-B-32-quickgelu/openai", "timm:test_vit.r160_in1k", "shufflenet-v2-x2"])
def test_own_weights_that_can_not_be(name, tmp_path):
    with pytest.raises(WeightsMissing, match=r"none.safetensors is not there"):
        find_encoder(name, weights=tmp_path / "none.safetensors")
    with pytest.raises(WeightsMissing, match=r"model.safetensors is not there"):
        find_encoder(name, weights=tmp_path)
    pickle = tmp_path / "mine.bin"
    pickle.write_bytes(b"\x80\x04")
    with pytest.raises(EncoderError, match=f"is pickled.*clipfuse encoders convert {pickle} -o .*mine.safetensors"):
        find_encoder(name, weights=pickle)


def test_a_folder_that_is_named_already(model_name, tmp_path):
    for which in ("quick gelu", "test_vit"):
        name = model_name(which)
        moved = tmp_path / f"a@b {which}"
        shutil.copytree(folder_of(name), moved)
        find_encoder(
            name.replace(str(folder_of(name)), str(moved))
        )  # the sign before weights may be in a folder's name


@pytest.mark.parametrize("which", ["quick gelu", "test_vit", "bert"])
def test_weights_for_a_name_with_a_folder(which, model_name, tmp_path):
    with pytest.raises(ConfigError, match="names its folder already"):
        find_encoder(model_name(which), weights=tmp_path)
    with pytest.raises(ConfigError, match="names its folder already"):
        find_encoder(f"mini@{tmp_path}")
    with pytest.raises(UnknownName, match="unknown encoder 'clip-vit-b-32@'"):
        find_encoder("clip-vit-b-32@")


def spoil_tokenizer(folder, *keep):
    for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink(missing_ok=True)
    for file in keep:
        (folder / file).touch()


@pytest.mark.parametrize("which", ["siglip", "bert"])
def test_a_tokenizer_that_is_not_there_is_missed_before_loading(which, model_name, tmp_path):
    name, folder = model_name(which), tmp_path / "model"
    shutil.copytree(folder_of(name), folder)
    name = name.replace(str(folder_of(name)), str(folder))
    find_encoder(name)
    spoil_tokenizer(folder)
    with pytest.raises(WeightsMissing, match=r"holds no tokenizer.*tokenizer.json"):
        find_encoder(name)
    spoil_tokenizer(folder, "spm.model")
    with pytest.raises(EncoderError, match="pip install sentencepiece"):
        find_encoder(name)
