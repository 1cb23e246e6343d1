"""Every backend's encoders keep the contract, and give what their own libraries give."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from clipfuse.encoders import ALIASES, BACKENDS, find_encoder
from clipfuse.errors import ConfigError, EncoderError
from clipfuse.testing import check_encoder, example_captions, example_pictures, load_encoders

# conftest.py is no module that a test can import in importlib mode
CLIP = ["mini", "mini by folder", "quick gelu", "custom text", "coca", "resnet tower", "timm tower"]
CLIP += ["timm attention pool", "siglip", "mobileclip", "hf text tower"]
TIMM = ["mobilenet-v2", "test_resnet", "test_vit", "test_vit2", "test_mambaout", "mobilenet-v3", "densenet"]
HF = ["minilm", "bert", "bert without pooler", "distilbert", "albert", "roberta", "deberta"]
ALL = [*CLIP, *TIMM, *HF, "shufflenet"]


def captions_for(which):
    """Without the longest for the one model that is large."""
    return [caption for caption in example_captions() if which != "minilm" or len(caption) < 1000]


def features(encoder, items):
    return encoder.encode(encoder.collate([encoder.prepare(item) for item in items]))


def assert_equal(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_every_backend_is_tried(loaded):
    prefixes = {loaded(which).name.partition(":")[0] for which in ("quick gelu", "test_vit", "bert", "shufflenet")}
    assert prefixes == set(BACKENDS)


@pytest.mark.parametrize("which", ALL)
def test_contract(which, loaded):
    found = loaded(which)
    assert [spec.modality for spec in found.factory.specs] == list(found.encoders)
    for encoder in found.encoders.values():
        assert any(encoder.spec is spec for spec in found.factory.specs)
        check_encoder(encoder, captions_for(which) if encoder.spec.modality == "text" else None)


@pytest.fixture(scope="module")
def open_clip_model(loaded):
    kept = {}

    def build(which):
        import open_clip

        if which not in kept:
            folder = loaded("mini by folder" if which == "mini" else which).name.removeprefix("clip:")
            model, transform = open_clip.create_model_from_pretrained(folder)
            kept[which] = model.eval(), transform, open_clip.get_tokenizer(folder)
        return kept[which]

    return build


class Own:
    """A direct call of each library, from pictures and captions as they are: (modality, output) -> features."""

    @staticmethod
    def clip(found, pictures, captions, open_clip_model, which):
        model, transform, tokenizer = open_clip_model(which)
        pixels = torch.stack([transform(picture) for picture in pictures])
        ids = tokenizer(captions, context_length=found.encoders["text"].spec.preprocessing["context"])
        return {
            ("image", "projected"): model.encode_image(pixels, normalize=False),
            ("text", "projected"): model.encode_text(ids, normalize=False),
        }

    @staticmethod
    def timm(found, pictures, *_):
        import timm
        from timm.data import create_transform, resolve_model_data_config

        model = timm.create_model(found.name.removeprefix("timm:"), pretrained=True, num_classes=0).eval()
        transform = create_transform(**resolve_model_data_config(model, use_test_size=True))
        return {("image", "pooled"): model(torch.stack([transform(picture) for picture in pictures]))}

    @staticmethod
    def hf(found, _pictures, captions, *_):
        from transformers import AutoModel, AutoTokenizer

        folder, longest = found.name.removeprefix("hf:"), found.encoders["text"].spec.preprocessing["max_length"]
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        alone = [tokenizer(caption, truncation=True, max_length=longest, return_tensors="pt") for caption in captions]
        states = [model(input_ids=one["input_ids"], attention_mask=one["attention_mask"]) for one in alone]
        own = {
            ("text", "mean"): torch.cat([one.last_hidden_state.mean(1) for one in states]),
            ("text", "cls"): torch.cat([one.last_hidden_state[:, 0] for one in states]),
        }
        if "pooler" in found.encoders["text"].spec.outputs:
            own["text", "pooler"] = torch.cat([one.pooler_output for one in states])
        return own

    @staticmethod
    def torchvision(found, pictures, *_):
        from safetensors.torch import load_file
        from torchvision.models import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

        model = shufflenet_v2_x0_5(num_classes=7).eval()
        model.load_state_dict(load_file(found.factory.weights))
        model.fc = torch.nn.Identity()
        transform = ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.transforms()
        return {("image", "pooled"): model(torch.stack([transform(picture) for picture in pictures]))}


@pytest.mark.parametrize("which", ALL)
@torch.inference_mode()
def test_features_are_the_librarys_own(which, loaded, open_clip_model):
    found = loaded(which)
    backend = found.name.partition(":")[0] if ":" in found.name else "clip"
    pictures, captions = example_pictures(), captions_for(which)
    own = getattr(Own, backend)(found, pictures, captions, open_clip_model, which)
    items = {"image": pictures, "text": captions}
    mine = {modality: features(encoder, items[modality]) for modality, encoder in found.encoders.items()}
    assert {modality for modality, _ in own} == set(mine)
    for (modality, output), expected in own.items():
        assert_equal(mine[modality][output][:, 0], expected)
        assert not torch.allclose(mine[modality][output].norm(dim=-1), torch.ones(1))  # nobody normalises them


def test_the_size_for_testing_is_taken(loaded):
    encoder = loaded("test_resnet").encoders["image"]
    assert encoder.prepare(example_pictures()[0]).value.shape[-2:] == (96, 96)


PROJECTIONS = {
    "mini": (lambda model, x: model.visual.trunk.get_classifier()(x), lambda model, x: x @ model.text_projection),
    "quick gelu": (lambda model, x: x @ model.visual.proj, lambda model, x: x @ model.text_projection),
    "custom text": (lambda model, x: x @ model.visual.proj, lambda model, x: model.text.text_projection(x)),
    "coca": (lambda model, x: x @ model.visual.proj, lambda model, x: x @ model.text.text_projection),
    "timm tower": (lambda model, x: model.visual.head(x), lambda model, x: x @ model.text_projection),
    "timm attention pool": (
        lambda model, x: model.visual.head.proj(x),
        lambda model, x: x @ model.text_projection,
    ),
    "mobileclip": (lambda model, x: model.visual.trunk.head.fc(x), lambda model, x: x @ model.text.text_projection),
    "hf text tower": (lambda model, x: x @ model.visual.proj, lambda model, x: model.text.proj(x)),
}


@pytest.mark.parametrize("which", PROJECTIONS)
@torch.inference_mode()
def test_clip_features_before_the_projection_lead_to_those_after_it(which, loaded, open_clip_model):
    model = open_clip_model(which)[0]
    for modality, items, project in zip(
        ("image", "text"), (example_pictures(), example_captions()), PROJECTIONS[which], strict=True
    ):
        found = features(loaded(which).encoders[modality], items)
        assert not torch.equal(found["pooled"], found["projected"])
        assert_equal(project(model, found["pooled"][:, 0]), found["projected"][:, 0])


def test_what_has_no_projection_of_its_own_says_so(loaded):
    assert loaded("resnet tower").encoders["image"].spec.outputs == ("projected",)
    assert loaded("siglip").encoders["image"].spec.outputs == ("projected",)
    assert loaded("siglip").encoders["text"].spec.outputs == ("projected", "pooled")


def test_the_default_output_comes_first(loaded, tmp_path, model_name):
    for which in CLIP:
        assert {spec.outputs[0] for spec in loaded(which).factory.specs} == {"projected"}
    assert loaded("bert").factory.specs[0].outputs == ("mean", "cls", "pooler")
    assert loaded("bert without pooler").factory.specs[0].outputs == ("mean", "cls")
    folder = tmp_path / "model"
    shutil.copytree(model_name("bert").removeprefix("hf:"), folder)
    (folder / "1_Pooling").mkdir()
    for cls, first in ((True, "cls"), (False, "mean")):
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": cls}))
        (encoder,) = load_encoders(find_encoder(f"hf:{folder}"))
        assert encoder.spec.outputs[0] == first
        mine, other = features(encoder, ["a cat"]), features(loaded("bert").encoders["text"], ["a cat"])
        assert torch.equal(mine[first], other[first])


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False, "include_prompt": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ([], "mean"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "by lasttoken, "),
        ({"pooling_mode_weightedmean_tokens": True}, "by weightedmean_tokens, "),
        ({"pooling_mode": "max"}, "by max, "),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "by cls_token and mean_tokens, "),
    ],
)
def test_a_pooling_that_is_not_known_is_refused_by_name(about, said, tmp_path, model_name):
    folder = tmp_path / "model"
    shutil.copytree(model_name("bert").removeprefix("hf:"), folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(about))
    if said in ("mean", "cls"):
        assert find_encoder(f"hf:{folder}").specs[0].outputs[0] == said
        return
    with pytest.raises(EncoderError, match=rf"1_Pooling/config.json pools {said}.*without 1_Pooling"):
        find_encoder(f"hf:{folder}")
    shutil.rmtree(folder / "1_Pooling")  # what the message says to do
    assert find_encoder(f"hf:{folder}").specs[0].outputs[0] == "mean"


@pytest.mark.parametrize("which", HF)
def test_padding_changes_nothing(which, loaded):
    encoder = loaded(which).encoders["text"]
    alone = features(encoder, ["a cat"])
    padded = features(encoder, ["a cat", "two people ride bicycles along the river " * 5])
    for output in ("mean", "cls"):
        assert_equal(padded[output][0], alone[output][0])


@pytest.mark.parametrize(("which", "longest"), [("bert", 40), ("distilbert", 40), ("deberta", 40), ("roberta", 38)])
def test_captions_are_cut_where_the_positions_end(which, longest, loaded):
    """With nothing but a vocab.txt a tokenizer knows no longest length; RoBERTa counts from its padding's id."""
    encoder = loaded(which).encoders["text"]
    assert encoder.prepare("cat " * 500).length == longest == encoder.spec.preprocessing["max_length"]


@pytest.mark.parametrize(
    ("which", "words"), [("mini", 22), ("quick gelu", 18), ("siglip", 18), ("bert", 38), ("roberta", 36)]
)
def test_captions_that_are_cut_say_so(which, words, loaded):
    encoder = loaded(which).encoders["text"]
    assert encoder.prepare("cat " * words).notes == ()
    assert encoder.prepare("cat " * (words + 1)).notes == ("truncated",)
    assert encoder.prepare("cat " * 500).notes == ("truncated",)
    assert encoder.prepare("a cat").notes == ()


def test_a_caption_is_read_with_what_its_model_wants_before_it(model_name, monkeypatch):
    alias = ALIASES["e5-small"]
    monkeypatch.setitem(ALIASES, "e5-small", replace(alias, target=model_name("bert")))
    (encoder,), (plain,) = (load_encoders(find_encoder(name)) for name in ("e5-small", model_name("bert")))
    assert encoder.spec.preprocessing["prefix"] == alias.prefix == "query: "
    assert encoder.spec.fingerprint("mean", "float16") != plain.spec.fingerprint("mean", "float16")
    assert encoder.prepare("a cat") == plain.prepare("query: a cat") != plain.prepare("a cat")


@pytest.mark.parametrize("which", ["mini", "quick gelu", "test_resnet", "bert"])
def test_bfloat16_runs_and_is_another_encoder(which, loaded):
    exact = loaded(which)
    factory = find_encoder(exact.name, precision="bfloat16")
    for encoder in load_encoders(factory):
        other = exact.encoders[encoder.spec.modality].spec
        for output in encoder.spec.outputs:
            assert encoder.spec.fingerprint(output, "float16") != other.fingerprint(output, "float16")
        items = example_pictures() if encoder.spec.modality == "image" else example_captions()
        low, high = features(encoder, items), features(exact.encoders[encoder.spec.modality], items)
        for output, values in low.items():
            difference = (values - high[output]).abs().max() / high[output].abs().max()
            assert 1e-5 < difference < 0.1  # really computed in bfloat16, and still the same features
        check_encoder(encoder)


def test_float16_is_for_gpus(loaded):
    for which in ("quick gelu", "test_resnet", "bert", "shufflenet"):
        factory = find_encoder(loaded(which).name, precision="float16")
        with pytest.raises(ConfigError, match=r"float16 is .* on a CPU. Use --precision bfloat16"):
            load_encoders(factory)


@pytest.mark.parametrize("which", ["quick gelu", "test_vit", "bert", "shufflenet"])
def test_features_of_another_shape_than_the_spec_says_are_refused(which, loaded):
    factory = loaded(which).factory
    for spec in factory.specs:
        (output, *_), (shape, *_) = spec.outputs, spec.shapes.values()
        wrong = replace(spec, shapes=dict(spec.shapes) | {output: shape._replace(dim=shape.dim + 1)})
        with pytest.raises(EncoderError, match=f"{output} is .* for a row, expected"):
            factory.load("cpu", [wrong])


@pytest.mark.parametrize("which", ["quick gelu", "test_vit", "bert", "shufflenet"])
def test_every_encoder_is_compiled_when_asked_for(which, loaded, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda compute, **_: lambda batch: compiled.append(1) or compute(batch))
    factory = loaded(which).factory
    for encoder in factory.load("cpu", factory.specs, compiled=True):
        features(encoder, example_pictures() if encoder.spec.modality == "image" else example_captions())
    assert len(compiled) == len(factory.specs)
    for encoder in load_encoders(factory):
        features(encoder, example_pictures() if encoder.spec.modality == "image" else example_captions())
    assert len(compiled) == len(factory.specs)


def test_two_threads_may_encode(loaded):
    from concurrent.futures import ThreadPoolExecutor

    encoder = loaded("mini").encoders["image"]
    batches = [encoder.collate([encoder.prepare(picture)]) for picture in example_pictures()]
    expected = [encoder.encode(batch) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        for found, right in zip(pool.map(encoder.encode, batches), expected, strict=True):
            for output, values in found.items():
                assert_equal(values, right[output])


def test_loading_one_modality_leaves_the_other(loaded):
    factory = loaded("quick gelu").factory
    assert [one.spec.modality for one in load_encoders(factory, ["text"])] == ["text"]
    assert [one.spec.modality for one in load_encoders(factory, ["image"])] == ["image"]
    assert load_encoders(loaded("test_vit").factory, ["text"]) == []
    assert load_encoders(loaded("bert").factory, ["image"]) == []


@pytest.mark.parametrize("which", ["mini", "quick gelu", "custom text", "test_resnet"])
def test_everything_is_on_the_device(which, loaded, monkeypatch):
    """A projection that is taken out of its model must not stay behind on the CPU."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    mixed = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, call, _types, args=(), kwargs=None):
            used = {x.device.type for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.ndim}
            if len(used) > 1 and "copy" not in str(call):
                mixed.append((str(call), used))
            return call(*args, **(kwargs or {}))

    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)  # nothing can come back from "meta"
    with Watch():
        for encoder in load_encoders(loaded(which).factory, device="meta"):
            (item,) = [example_pictures()[0]] if encoder.spec.modality == "image" else ["a"]
            assert encoder.encode(encoder.collate([encoder.prepare(item)]))
    assert not mixed
