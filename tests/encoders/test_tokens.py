"""The last layer in K groups: what a group is, from the same forward pass, for every kind of network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

from clipfuse.encoders import find_encoder, tokens_of
from clipfuse.encoders.groups import grid_of, pool_cells, pool_places, pool_runs
from clipfuse.errors import ConfigError, EncoderError
from clipfuse.testing import check_encoder, example_captions, example_pictures


def features(encoder, items):
    return encoder.encode(encoder.collate([encoder.prepare(item) for item in items]))


def assert_equal(found, expected):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("groups", "grid"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (6, (2, 3)), (7, (1, 7)), (12, (3, 4)), (49, (7, 7))]
)
def test_the_grid_is_the_nearest_to_a_square(groups, grid):
    assert grid_of(groups) == grid


def test_cells_come_in_reading_order():
    maps = torch.zeros(1, 1, 4, 6)
    maps[0, 0, :2, 2:4] = 1  # above, in the middle
    maps[0, 0, 2:, 4:] = 2  # below, on the right
    assert pool_cells(maps, 6).flatten().tolist() == [0, 1, 0, 0, 0, 2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 8), st.integers(0, 3))
def test_runs_are_adaptive_averages_of_a_captions_own_tokens(lengths, groups, padding):
    torch.manual_seed(sum(lengths))
    longest = max(lengths) + padding
    states = torch.randn(len(lengths), longest, 3)
    own = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    for row, length in enumerate(lengths):
        expected = adaptive_avg_pool1d(states[row, :length].T, groups).T
        assert torch.allclose(pool_runs(states, own, groups)[row], expected, atol=1e-6)


@pytest.mark.parametrize(("output", "number"), [("tokens-8", 8), ("mean", None), ("tokens-", None), ("tokens-x", None)])
def test_outputs_of_tokens_are_known_by_their_names(output, number):
    assert tokens_of(output) == number


MODELS = ["mini", "quick gelu", "custom text", "resnet tower", "timm tower", "timm attention pool", "siglip"]
MODELS += ["mobileclip", "hf text tower", "test_resnet", "test_vit2", "test_mambaout", "mobilenet-v3", "bert", "albert"]


@pytest.mark.parametrize("which", MODELS)
def test_every_kind_of_network_gives_tokens(which, loaded):
    found, plain = loaded(which, tokens=6), loaded(which)
    for modality, encoder in found.encoders.items():
        assert encoder.spec.shapes["tokens-6"].tokens == 6
        assert encoder.spec.outputs[:-1] == plain.encoders[modality].spec.outputs
        items = example_pictures() if modality == "image" else example_captions()
        check_encoder(encoder, items)
        for output, values in features(plain.encoders[modality], items).items():
            assert_equal(features(encoder, items)[output], values)  # tokens change nothing beside them


def reference(which, loaded):
    """(encoder, items, the whole last layer: a map for each picture, or each caption's own states)"""
    found = loaded(which, tokens=6)
    folder = found.name.rpartition(":")[2]
    if found.name.startswith("timm"):
        import timm

        model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
        encoder, pictures = found.encoders["image"], example_pictures()
        maps = model.forward_intermediates(
            encoder.collate([encoder.prepare(one) for one in pictures])["pixels"],
            indices=1,
            norm=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )[0]
        return encoder, pictures, maps
    if found.name.startswith("hf"):
        from transformers import AutoModel

        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        encoder, captions = found.encoders["text"], example_captions()
        ids = [torch.tensor([encoder.prepare(one).value[0]]) for one in captions]
        return encoder, captions, [model(input_ids=one).last_hidden_state[0] for one in ids]
    raise AssertionError(which)


@pytest.mark.parametrize("which", ["test_resnet", "test_vit2"])
@torch.inference_mode()
def test_picture_tokens_are_cells_of_the_last_map(which, loaded):
    encoder, pictures, maps = reference(which, loaded)
    assert_equal(features(encoder, pictures)["tokens-6"], adaptive_avg_pool2d(maps, (2, 3)).flatten(2).mT)


@pytest.mark.parametrize("which", ["bert", "roberta"])
@torch.inference_mode()
def test_caption_tokens_are_runs_of_the_last_states(which, loaded):
    encoder, captions, states = reference(which, loaded)
    expected = torch.stack([adaptive_avg_pool1d(one.T, 6).T for one in states])
    assert_equal(features(encoder, captions)["tokens-6"], expected)


@torch.inference_mode()
def test_clip_tokens_are_its_patches_and_words(loaded):
    import open_clip

    found = loaded("quick gelu", tokens=6)
    folder = found.name.removeprefix("clip:")
    model, transform = open_clip.create_model_from_pretrained(folder)
    pixels = torch.stack([transform(picture) for picture in example_pictures()])
    ids = open_clip.get_tokenizer(folder)(example_captions())
    own = model.eval().forward_intermediates(pixels, ids, 1, 1, normalize_intermediates=True)
    patches = adaptive_avg_pool2d(own["image_intermediates"][-1], (2, 3)).flatten(2).mT
    assert_equal(features(found.encoders["image"], example_pictures())["tokens-6"], patches)
    states, ends = own["text_intermediates"][-1], ids.argmax(1) + 1
    words = [adaptive_avg_pool1d(row[:end].T, 6).T for row, end in zip(states, ends, strict=True)]
    assert_equal(features(found.encoders["text"], example_captions())["tokens-6"], torch.stack(words))


@pytest.mark.parametrize(("which", "length"), [("quick gelu", 20), ("siglip", 20), ("hf text tower", 20), ("bert", 4)])
def test_padding_is_none_of_a_captions_own_tokens(which, length, loaded):
    """open_clip's models read a fixed number of tokens, padding and all."""
    encoder = loaded(which).encoders["text"]
    prepared = encoder.prepare("a cat")
    assert prepared.length == length
    assert encoder.collate([prepared])["own"].tolist() == [[1] * 4 + [0] * (length - 4)]


@pytest.mark.parametrize(("which", "why"), [("coca", "queries look at all of a picture"), ("shufflenet", "timm's")])
def test_what_can_give_no_tokens_says_so_before_it_loads(which, why, model_name):
    with pytest.raises(EncoderError, match=f"can't give tokens: .*{why}.*Leave --tokens out"):
        find_encoder(model_name(which), tokens=4)


@pytest.mark.parametrize("tokens", [0, -3, 257, 10**9])
def test_no_tokens_and_very_many_can_not_be_asked_for(tokens):
    with pytest.raises(ConfigError, match=f"can't give {tokens} tokens. Write --tokens 1 to 256"):
        find_encoder("mini", tokens=tokens)


def test_the_most_tokens_can_be_asked_for(model_name):
    (spec,) = find_encoder(model_name("bert"), tokens=256).specs
    assert spec.shapes["tokens-256"].tokens == 256


def test_a_last_layer_that_is_no_grid_is_refused():
    with pytest.raises(EncoderError, match="no grid"):
        pool_places(object(), torch.zeros(1, 5, 3), 2)
    with pytest.raises(EncoderError, match="no map"):
        pool_places(object(), torch.zeros(1, 5), 2)
