"""Names, folders and weights that can't be used: said at once, in one line, as an error of clipfuse's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import clipfuse.encoders
from clipfuse.encoders import clip, find_encoder
from clipfuse.encoders.listing import FORMS, list_encoders
from clipfuse.errors import ConfigError, EncoderError, UnknownName, WeightsMissing
from clipfuse.testing import load_encoders

FILES = {
    "quick gelu": ("open_clip_config.json", "open_clip_model.safetensors"),
    "test_vit": ("config.json", "model.safetensors"),
    "bert": ("config.json", "model.safetensors"),
}
KINDS = list(FILES)


@pytest.fixture
def copy_of(model_name, tmp_path):
    """A model's folder to spoil: (name of the encoder, its folder)."""

    def copy(which):
        prefix, _, folder = model_name(which).rpartition(":")
        shutil.copytree(folder, tmp_path / "model")
        return f"{prefix}:{tmp_path / 'model'}", tmp_path / "model"

    return copy


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("minni", "unknown encoder 'minni'. Did you mean 'mini'?"),
        ("", "unknown encoder ''"),
        ("clip:", "unknown encoder 'clip:'"),
        (":ViT-B-32/openai", "backend ''"),
        ("clp:ViT-B-32/openai", "unknown encoder backend 'clp'. Did you mean 'clip'?"),
        ("clip:ViT-B32/laion2b_s34b_b79k", "no model 'ViT-B32'. Did you mean 'ViT-B-32'?"),
        ("clip:ViT-B-32/laion2b_s34b_b79", "for ViT-B-32. Did you mean 'laion2b_s34b_b79k'?"),
        ("clip:ViT-B-32/", "no weights ''"),
        ("clip:../../etc/passwd", "no model '..'"),
        ("clip-vit-b32", "unknown encoder 'clip-vit-b32'. Did you mean 'clip-vit-b-32'? clipfuse encoders lists"),
        ("nothing like it", "unknown encoder 'nothing like it'. clipfuse encoders lists"),
        ("timm:efficientnet_b99.ra2_in1k", "timm has no model 'efficientnet_b99'. Did you mean 'timm:efficientnet_b"),
        ("torchvision:shufflenet_v2_x9.X", "no model 'shufflenet_v2_x9'. Did you mean 'shufflenet_v2_x"),
    ],
)
def test_unknown_names_name_the_nearest(name, said):
    with pytest.raises(UnknownName) as caught:
        find_encoder(name)
    assert said in str(caught.value)


def test_the_settings_of_a_text_tower_are_missed_before_loading(copy_of, monkeypatch):
    name, folder = copy_of("hf text tower")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "me/nowhere"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsMissing, match=r"needs config.json of me/nowhere.*HF_HUB_OFFLINE is set"):
        find_encoder(name)


@pytest.mark.parametrize(("precision", "said"), [("half", "Known: bfloat16, float16, float32"), ("float61", "float16")])
def test_unknown_precisions(precision, said):
    with pytest.raises(ConfigError, match=f"unknown precision '{precision}'. .*{said}"):
        find_encoder("mini", precision=precision)


def test_a_tag_that_timm_does_not_list_may_be_on_the_hub(monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsMissing, match=r"HF_HUB_OFFLINE is set. Did you mean 'efficientnet_b4.ra2_in1k'\?"):
        find_encoder("timm:efficientnet_b4.ra3_in1k")


@pytest.mark.parametrize("tag", ["openai", "laion400m_e32", "metaclip_fullcc"])
def test_weights_of_quick_gelu_need_its_model(tag):
    with pytest.raises(EncoderError, match=f"QuickGELU.*Use clip:ViT-B-32-quickgelu/{tag}$"):
        find_encoder(f"clip:ViT-B-32/{tag}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:efficientnet_b4", "Write timm:NAME.TAG, for example timm:efficientnet_b4.ra2_in1k"),
        ("clip:ViT-L-14-quickgelu", "Write clip:MODEL/TAG"),
        ("hf:not a name/at all", "can't be a model of the hub"),
        ("timm:test_vit.me/thing", "can't be a model of the hub"),
    ],
)
def test_names_that_can_mean_nothing(name, said):
    with pytest.raises(ConfigError, match=said):
        find_encoder(name)


def test_a_hub_model_without_its_owner():
    with pytest.raises(WeightsMissing, match="hf:google-bert/bert-base-uncased"):
        find_encoder("hf:bert-base-uncased")


@pytest.mark.parametrize("which", KINDS)
def test_a_missing_file_is_named(which, copy_of):
    name, folder = copy_of(which)
    for file in FILES[which]:
        (folder / file).rename(folder / "away")
        with pytest.raises(WeightsMissing) as caught:
            find_encoder(name)
        assert str(folder / file) in str(caught.value)
        assert all(needed in caught.value.fix for needed in FILES[which])
        (folder / "away").rename(folder / file)
    find_encoder(name)
    with pytest.raises(WeightsMissing, match="nowhere is not there"):
        find_encoder(name.replace(str(folder), str(folder / "nowhere")))


@pytest.mark.parametrize("which", KINDS)
def test_pickled_weights_are_not_loaded(which, copy_of):
    name, folder = copy_of(which)
    (folder / FILES[which][1]).rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsMissing, match=r"pickled weights \(pytorch_model.bin\).*safetensors"):
        find_encoder(name)


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"model_cfg": 3}', '{"model_cfg": {}}', "\xff"])
def test_a_configuration_that_is_none(which, config, copy_of):
    name, folder = copy_of(which)
    (folder / FILES[which][0]).write_bytes(config.encode("latin-1"))
    with pytest.raises(EncoderError, match=FILES[which][0]):
        find_encoder(name)


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut short": data[: len(data) // 2],
            "empty": b"",
            "no header": b"\xff" * 100,
            "pickled": b"\x80\x04\x95" + data[:100],
        }[how]
    )


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize("how", ["cut short", "empty", "no header", "pickled"])
def test_spoilt_weights(which, how, copy_of):
    name, folder = copy_of(which)
    spoil(folder / FILES[which][1], how)
    with pytest.raises(EncoderError, match="can't load" if how == "cut short" else "not a safetensors file") as caught:
        load_encoders(find_encoder(name))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", KINDS)
def test_weights_of_another_model(which, copy_of):
    """Never features from random weights."""
    from safetensors.torch import load_file, save_file

    name, folder = copy_of(which)
    weights = folder / FILES[which][1]
    tensors = load_file(weights)
    dropped = next(key for key in sorted(tensors) if "weight" in key and ("blocks" in key or "layer" in key))
    for changed in (
        {key: value for key, value in tensors.items() if key != dropped},
        {**tensors, dropped: tensors[dropped][..., :1].clone()},
    ):
        save_file(changed, weights)
        with pytest.raises(EncoderError) as caught:
            load_encoders(find_encoder(name))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


def test_configurations_that_do_not_fit_their_library(copy_of):
    name, folder = copy_of("bert")
    config = json.loads((folder / "config.json").read_text())
    for changes in ({"model_type": "no-such-model"}, {"model_type": "vit"}, {"model_type": "t5"}, {"hidden_size": 31}):
        (folder / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(EncoderError, match=r"can't load|not in its file"):
            load_encoders(find_encoder(name), ["text"])


def test_an_unknown_timm_architecture(copy_of):
    name, folder = copy_of("test_vit")
    config = json.loads((folder / "config.json").read_text()) | {"architecture": "no_such_net"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r"can't load.*no_such_net"):
        load_encoders(find_encoder(name), ["image"])


def test_the_fingerprint_follows_the_files(copy_of):
    name, folder = copy_of("bert")
    seen = {find_encoder(name).specs[0].fingerprint("mean", "float16")}
    config = json.loads((folder / "config.json").read_text())
    changes = [
        lambda: (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n"),
        lambda: (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}'),
        lambda: (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"})),
        lambda: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b"x"),
    ]
    for number, change in enumerate(changes, start=2):
        change()
        seen.add(find_encoder(name).specs[0].fingerprint("mean", "float16"))
        assert len(seen) == number
    # what says nothing about the numbers
    (folder / "config.json").write_text(
        json.dumps(config | {"hidden_act": "relu", "transformers_version": "9", "torch_dtype": "float16"})
    )
    seen.add(find_encoder(name).specs[0].fingerprint("mean", "float16"))
    assert len(seen) == len(changes) + 1


def test_the_fingerprint_follows_a_clip_tokenizer(tmp_path):
    mini = Path(clipfuse.encoders.__file__).parent / "mini"
    for number in range(3):
        shutil.copytree(mini, tmp_path / str(number))
    for number, file in ((1, "tokenizer.json"), (2, "tokenizer_config.json")):
        path = tmp_path / str(number) / file
        path.write_text(path.read_text().replace("{", "{ ", 1))
    prints = [
        [spec.fingerprint("projected", "float16") for spec in find_encoder(f"clip:local-dir:{tmp_path / str(n)}").specs]
        for n in range(3)
    ]
    assert len({image for image, _ in prints}) == 1
    assert len({text for _, text in prints}) == 3


def test_home_is_understood(copy_of, monkeypatch):
    for which in KINDS:
        name, folder = copy_of(which)
        monkeypatch.setenv("HOME", str(folder.parent))
        load_encoders(find_encoder(name.replace(str(folder.parent), "~")))
        shutil.rmtree(folder)


def test_every_form_of_a_name_is_listed():
    assert [row["name"] for row in list_encoders()] == list(clipfuse.encoders.ALIASES)
    assert {form.partition(":")[0] for form in FORMS} == {*clipfuse.encoders.BACKENDS, "NAME@PATH"}


def test_weights_that_are_only_published_pickled(monkeypatch):
    published = {"url": "https://example.org/RN.pt"}
    monkeypatch.setattr(clip, "published_weights", lambda *_: published)
    with pytest.raises(EncoderError, match=r"RN.pt.*clipfuse encoders convert.*--weights"):
        find_encoder("clip:RN50/mine")


SCRIPT = """
import sys
from clipfuse.encoders import find_encoder
from clipfuse.errors import WeightsMissing
for name in sys.argv[1:]:
    try:
        find_encoder(name)
    except WeightsMissing as error:
        print(error)
find_encoder("mini")
heavy = {"torch", "open_clip", "timm", "transformers", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "127.0.0.1 can't be reached"),
    ],
)
def test_missing_weights_are_told_before_anything_heavy_is_imported(settings, reason, tmp_path):
    wanted = {
        "clip:ViT-L-14-quickgelu/openai": "open_clip_model.safetensors of timm/vit_large_patch14_clip_224.openai",
        "timm:efficientnet_b4.ra2_in1k": "model.safetensors of timm/efficientnet_b4.ra2_in1k",
        "hf:google/bert_uncased_L-2_H-128_A-2": "model.safetensors of google/bert_uncased_L-2_H-128_A-2",
    }
    plain = {k: v for k, v in os.environ.items() if not k.upper().startswith("HF_") and "PROXY" not in k.upper()}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *wanted],
        env=plain | {"HF_HOME": str(tmp_path)} | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(wanted)
    for line, (name, files) in zip(lines, wanted.items(), strict=True):
        assert f"encoder {name} needs {files}" in line
        assert reason in line
        assert "--encoder" in line  # what to type instead
