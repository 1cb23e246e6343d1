"""Models and tokenizers in the hub's cache on this machine: used as they are, without a question to the hub."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from clipfuse.encoders import clip, find_encoder
from clipfuse.errors import WeightsMissing
from clipfuse.testing import load_encoders

CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")


def hub_cache(root: Path, repository: str, folder: Path) -> None:
    """What the hub's client leaves behind after a download."""
    model = root / f"models--{repository.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("a" * 40)
    shutil.copytree(folder, model / "snapshots" / ("a" * 40))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache on this machine; asking the hub itself is an error."""
    import socket

    import huggingface_hub.constants

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("which", "repository", "name"),
    [("test_vit", "timm/test_vit.mine", "timm:test_vit.mine"), ("bert", "me/bert", "hf:me/bert")],
)
def test_models_in_the_hubs_cache(which, repository, name, hub, loaded):
    """What was downloaded is used as it is, without a question to the hub, and is the same encoder as in a folder."""
    local = loaded(which)
    hub_cache(hub, repository, Path(local.name.rpartition(":")[2]))
    factory = find_encoder(name)
    (encoder,) = load_encoders(factory)
    (spec,) = local.factory.specs
    assert encoder.spec.fingerprint(spec.outputs[0], "float16") == spec.fingerprint(spec.outputs[0], "float16")


def test_published_clip_weights_in_the_hubs_cache(hub, loaded, tmp_path, monkeypatch):
    """MODEL/TAG takes the file whose digest it has, and the tag's preprocessing, not OpenAI's."""
    import open_clip
    import torch

    local = loaded("quick gelu")
    folder = Path(local.name.rpartition(":")[2])
    hub_cache(hub, "me/tiny", folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    (tmp_path / "Tiny.json").write_text(json.dumps(config["model_cfg"]))
    open_clip.add_model_config(tmp_path / "Tiny.json")
    published = {"hf_hub": "me/tiny/", "quick_gelu": True, **config["preprocess_cfg"]}
    monkeypatch.setattr(clip, "model_config", lambda _: config["model_cfg"])
    monkeypatch.setattr(clip, "published_weights", lambda *_: published)
    encoders = load_encoders(find_encoder("clip:Tiny/mine"))
    for encoder in encoders:
        same = local.encoders[encoder.spec.modality]
        assert encoder.spec.fingerprint("pooled", "float16") == same.spec.fingerprint("pooled", "float16")
    from PIL import Image

    picture = Image.new("RGB", (20, 30), (200, 100, 50))
    assert torch.equal(encoders[0].prepare(picture).value, local.encoders["image"].prepare(picture).value)


def test_a_tokenizer_in_the_hubs_cache(hub, loaded, tmp_path, monkeypatch):
    """Of a repository of its own, read where it lies; missed before anything is loaded."""
    import open_clip

    local = loaded("siglip")
    folder = Path(local.name.rpartition(":")[2])
    config = json.loads((folder / "open_clip_config.json").read_text())
    (tmp_path / "Tiny.json").write_text(json.dumps(config["model_cfg"]))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [tmp_path / "Tiny.json"])
    open_clip.factory._rescan_model_configs()
    monkeypatch.setattr(clip, "model_config", lambda _: config["model_cfg"])
    monkeypatch.setattr(clip, "published_weights", lambda *_: {"hf_hub": "me/tiny/", **config["preprocess_cfg"]})
    weights = tmp_path / "weights"
    weights.mkdir()
    for file in CLIP_FILES:
        shutil.copy(folder / file, weights)
    hub_cache(hub, "me/tiny", weights)
    with monkeypatch.context() as offline, pytest.raises(WeightsMissing, match="needs the tokenizer of me/words"):
        offline.setitem(os.environ, "HF_HUB_OFFLINE", "1")
        find_encoder("clip:Tiny/mine")
    words = tmp_path / "words"
    words.mkdir()
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, words)
    hub_cache(hub, "me/words", words)
    (text,) = load_encoders(find_encoder("clip:Tiny/mine"), ["text"])
    same = local.encoders["text"]
    assert text.spec.fingerprint("pooled", "float16") == same.spec.fingerprint("pooled", "float16")
    assert text.prepare("two people, a dog") == same.prepare("two people, a dog")


def test_a_repository_with_pickled_weights_says_how_to_go_on(hub, loaded, monkeypatch):
    folder = Path(loaded("bert").name.partition(":")[2])
    hub_cache(hub, "me/pickled", folder)
    snapshot = next((hub / "models--me--pickled" / "snapshots").iterdir())
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(WeightsMissing, match=r"clipfuse encoders convert .*pytorch_model.bin -o .*model.safetensors"):
        find_encoder("hf:me/pickled")
    (snapshot / "pytorch_model.bin").unlink()
    monkeypatch.setattr("clipfuse.encoders.weights._why_unreachable", lambda: "")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    with pytest.raises(WeightsMissing, match=r"published without model.safetensors.*clipfuse encoders convert"):
        find_encoder("hf:me/pickled")
    (snapshot / "pytorch_model.bin").touch()
