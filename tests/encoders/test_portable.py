"""An encoder's files in another folder are the same encoder."""

import json
from pathlib import Path

import pytest

from clipfuse.encoders import ALIASES, find_encoder
from clipfuse.encoders import timm as timm_module
from clipfuse.encoders.names import name_in_folder
from clipfuse.encoders.request import Request
from clipfuse.errors import EncoderError

TAKEN = ["mini", "quick gelu", "siglip", "timm tower", "mobilenet-v2", "test_vit", "roberta", "shufflenet"]


def laid_out(factory, folder):
    """The factory's files in ``folder``; the name under which they are found there."""
    portable = factory.portable()
    for name, source in portable.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    return portable.name.replace("{folder}", str(folder))


def prints(factory):
    return [spec.fingerprint(output, "float16") for spec in factory.specs for output in spec.outputs]


@pytest.mark.parametrize("which", TAKEN)
def test_it_is_found_again_and_loads(which, model_name, tmp_path):
    factory = find_encoder(model_name(which))
    again = find_encoder(laid_out(factory, tmp_path))
    assert prints(again) == prints(factory)
    assert str(tmp_path) in again.specs[0].name
    loaded = again.load("cpu", again.specs)  # which compares the preprocessing, and each output's shape
    assert [one.spec for one in loaded] == list(again.specs)


def test_what_an_alias_adds_to_captions_comes_along(model_name, tmp_path):
    source = Path(model_name("bert").removeprefix("hf:"))
    factory = find_encoder("e5-small", weights=source)
    again = find_encoder(laid_out(factory, tmp_path))
    assert prints(again) == prints(factory)
    assert again.specs[0].preprocessing["prefix"] == "query: "


def test_what_only_timm_knows_of_weights_is_written_out(model_name, tmp_path, monkeypatch):
    folder = Path(model_name("test_vit").removeprefix("timm:local-dir:"))
    config = json.loads((folder / "config.json").read_text())
    monkeypatch.setattr(timm_module, "published_config", lambda target: config)
    monkeypatch.setattr(timm_module, "check_architecture", lambda target: None)
    factory = timm_module.find_timm(
        Request("timm:test_vit.r160_in1k", "test_vit.r160_in1k", weights=folder / "model.safetensors")
    )
    assert factory.pretrained_cfg is not None
    assert prints(find_encoder(laid_out(factory, tmp_path))) == prints(factory)


def test_a_model_whose_parts_are_elsewhere_is_not_taken_along(model_name):
    with pytest.raises(EncoderError, match=r"can't be taken along: the settings of its text tower"):
        find_encoder(model_name("hf text tower")).portable()


def test_names_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    assert {name: name_in_folder(name) for name in ALIASES}["e5-small"] == "e5-small@{folder}"
    assert name_in_folder("mini") == "clip:local-dir:{folder}"
    assert name_in_folder("clip:ViT-B-32-quickgelu/openai@/x/y@z") == "clip:ViT-B-32-quickgelu/openai@{folder}"
    assert name_in_folder("timm:local-dir:/a@b") == "timm:local-dir:{folder}"
    assert name_in_folder("hf:./here") == name_in_folder("hf:own") == "hf:{folder}"
    assert name_in_folder("hf:google/bert@/w") == "hf:google/bert@{folder}"
