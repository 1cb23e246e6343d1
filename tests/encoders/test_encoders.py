"""Every backend's encoders keep the contract, and give what their own libraries give."""

from __future__ import annotations

import pytest
import torch

from clipfuse.encoders import ALIASES, BACKENDS, find_encoder
from clipfuse.testing import FakeFactory, check_encoder, example_captions, example_pictures, load_encoders

# conftest.py is no module that a test can import in importlib mode
ALL = ["mini", "mini by folder", "quick gelu", "custom text", "coca", "resnet tower", "timm tower"]
ALL += ["timm attention pool", "mobilenet-v2", "test_resnet", "test_vit", "minilm", "bert", "distilbert"]
CLIP, TIMM, HF = ALL[:8], ALL[8:11], ALL[11:]


def captions_for(which):
    """Without the longest for the one model that is large."""
    return [caption for caption in example_captions() if which != "minilm" or len(caption) < 1000]


def features(encoder, items):
    return encoder.encode(encoder.collate([encoder.prepare(item) for item in items]))


def assert_equal(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_every_backend_and_alias_is_tried(loaded):
    assert set(BACKENDS) == {"clip", "timm", "hf"}
    assert set(ALIASES) <= set(ALL)
    prefixes = {loaded(which).name.partition(":")[0] for which in ("quick gelu", "test_vit", "bert")}
    assert prefixes == set(BACKENDS)


@pytest.mark.parametrize("which", ALL)
def test_contract(which, loaded):
    found = loaded(which)
    assert [spec.modality for spec in found.factory.specs] == list(found.encoders)
    for encoder in found.encoders.values():
        assert any(encoder.spec is spec for spec in found.factory.specs)
        check_encoder(encoder, captions_for(which) if encoder.spec.modality == "text" else None)


def test_contract_of_the_fake():
    for encoder in load_encoders(FakeFactory(outputs=("projected", "pooled"))):
        check_encoder(encoder)


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


@pytest.mark.parametrize("which", CLIP)
@torch.inference_mode()
def test_clip_features_are_open_clips_own(which, loaded, open_clip_model):
    model, transform, tokenizer = open_clip_model(which)
    encoders, pictures, captions = loaded(which).encoders, example_pictures(), example_captions()
    pixels = torch.stack([transform(picture) for picture in pictures])
    expected = {"image": model.encode_image(pixels, normalize=False)}
    context = encoders["text"].spec.preprocessing["context"]
    expected["text"] = model.encode_text(tokenizer(captions, context_length=context), normalize=False)
    for modality, items in (("image", pictures), ("text", captions)):
        found = features(encoders[modality], items)
        assert_equal(found["projected"][:, 0], expected[modality])
        assert not torch.allclose(found["projected"].norm(dim=-1), torch.ones(1))


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


def test_a_resnet_tower_has_nothing_before_its_projection(loaded):
    assert loaded("resnet tower").encoders["image"].spec.outputs == ("projected",)


def test_the_default_output_comes_first(loaded):
    for which in CLIP:
        assert {spec.outputs[0] for spec in loaded(which).factory.specs} == {"projected"}


@pytest.mark.parametrize("which", TIMM)
@torch.inference_mode()
def test_timm_features_are_timms_own(which, loaded):
    import timm
    from timm.data import create_transform, resolve_model_data_config

    found = loaded(which)
    model = timm.create_model(found.name.removeprefix("timm:"), pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(model, use_test_size=True))
    pixels = torch.stack([transform(picture) for picture in example_pictures()])
    assert_equal(features(found.encoders["image"], example_pictures())["pooled"][:, 0], model(pixels))
    if which == "test_resnet":
        assert pixels.shape[-2:] == (96, 96)  # the size for testing


@pytest.mark.parametrize("which", HF)
@torch.inference_mode()
def test_hf_features_are_transformers_own(which, loaded):
    from transformers import AutoModel, AutoTokenizer

    found = loaded(which)
    folder = found.name.removeprefix("hf:")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    longest = 512 if which == "minilm" else 40
    batch = tokenizer(captions_for(which), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    mine = features(found.encoders["text"], captions_for(which))
    assert_equal(mine["cls"][:, 0], hidden[:, 0])
    for row, length in enumerate(batch["attention_mask"].sum(1)):
        assert_equal(mine["mean"][row, 0], hidden[row, :length].mean(0))


@pytest.mark.parametrize("which", HF)
def test_padding_changes_nothing(which, loaded):
    encoder = loaded(which).encoders["text"]
    alone = features(encoder, ["a cat"])
    padded = features(encoder, ["a cat", "two people ride bicycles along the river " * 5])
    for output in ("mean", "cls"):
        assert_equal(padded[output][0], alone[output][0])


@pytest.mark.parametrize("which", ["bert", "distilbert"])
def test_captions_are_cut_where_the_positions_end(which, loaded):
    """With nothing but a vocab.txt a tokenizer knows no longest length."""
    encoder = loaded(which).encoders["text"]
    assert encoder.prepare("cat " * 500).length == 40 == encoder.spec.preprocessing["max_length"]


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


class Broken:
    """The fake with one promise broken."""

    def __init__(self, modality="text", **changed):
        (self._inner,) = load_encoders(FakeFactory(outputs=("projected", "pooled")), [modality])
        self.__dict__ |= changed

    def __getattr__(self, name):
        return getattr(self._inner, name)


def _swapped(encoder):
    return lambda batch: {name + "x": value for name, value in encoder.encode(batch).items()}


def _noisy(encoder):
    return lambda batch: {name: value + torch.rand(1) for name, value in encoder.encode(batch).items()}


def _changed(change):
    return lambda encoder: lambda batch: {name: change(value) for name, value in encoder.encode(batch).items()}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_swapped, "the spec says"),
        (_noisy, "the same batch gave other features"),
        (_changed(lambda x: x[:, 0]), "shape"),
        (_changed(lambda x: x[..., :-1]), "shape"),
        (_changed(lambda x: x.double()), "dtype"),
        (_changed(lambda x: x.to("meta")), "expected the CPU"),
        (_changed(lambda x: x.clone().requires_grad_()), "gradients"),
        (_changed(lambda x: x / 0), "not finite"),
        (_changed(torch.ones_like), "two items"),
        (_changed(lambda x: x + 1e-3 * x.sum(0, keepdim=True)), "moves by"),
        (_changed(lambda x: x - x.mean(0) if len(x) > 1 else x), "moves by"),  # batch statistics: training mode
    ],
)
def test_the_contract_notices(broken, message):
    encoder = Broken()
    encoder.encode = broken(encoder._inner)
    with pytest.raises(AssertionError, match=message):
        check_encoder(encoder)


def test_the_contract_notices_threads():
    import threading

    owner = threading.get_ident()
    encoder = Broken()
    encoder.prepare = lambda item: encoder._inner.prepare(item)._replace(length=threading.get_ident() - owner)
    with pytest.raises(AssertionError, match="in a thread"):
        check_encoder(encoder)


@pytest.mark.parametrize("field", ["weights", "activation", "precision", "view", "model", "preprocessing"])
def test_the_contract_notices_a_forgotten_field(field):
    from clipfuse.encoders import EncoderSpec
    from clipfuse.testing import check_spec

    class Forgetful(EncoderSpec):
        def fields(self, output, storage):
            return {name: value for name, value in super().fields(output, storage).items() if name != field}

    (spec, _) = FakeFactory().specs
    with pytest.raises(AssertionError, match=f"does not change with {field}"):
        check_spec(Forgetful(**{name: getattr(spec, name) for name in spec.__dataclass_fields__}))
