"""A run with its encoders in memory: what it says is what predict says, and what can't be used is told of."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipfuse import run_features
from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.errors import ConfigError, EncoderError, RunError, TableError
from clipfuse.extract import ExtractOptions
from clipfuse.given_rows import GivenRows
from clipfuse.loaded_run import load_run
from clipfuse.predict import predict
from clipfuse.testing import small_png


@pytest.fixture(scope="module")
def dataset(scenes):
    return load_dataset(TableConfig(table=scenes.table, images=scenes.images))


@pytest.fixture(scope="module")
def loaded(scenes):
    return load_run(scenes.runs["sum"].path, device="cpu", threads=2, max_pixels=1_000_000)


def test_it_says_what_predict_does(scenes, dataset, loaded):
    expected = predict(scenes.runs["sum"], dataset, cache=scenes.cache, options=ExtractOptions())
    images = [ref and scenes.images / ref.key for ref in dataset.images]
    found = loaded.predict(images=images, captions=dataset.captions)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-3)
    assert found.probabilities.dtype == np.float64 and found.chosen.dtype == np.bool_
    assert found.labels == loaded.labels == scenes.runs["sum"].labels
    np.testing.assert_array_equal(loaded.thresholds, scenes.runs["sum"].thresholds())
    names = [[loaded.labels[n] for n in np.flatnonzero(row)] for row in found.chosen]
    assert found.chosen_labels == names
    told = {dataset.ids.index(entry.id) for entry in expected.ledger if entry.part == "image"}
    there = {row for row, problem in enumerate(found.problems) if "image" in problem}
    assert there == {row for row in told if images[row] is not None} and there


def test_blocks_change_nothing(dataset, loaded, monkeypatch):
    captions = list(dataset.captions)
    whole = loaded.predict(captions=captions).probabilities
    monkeypatch.setattr("clipfuse.loaded_run.BLOCK", 7)
    np.testing.assert_allclose(loaded.predict(captions=captions).probabilities, whole, atol=2e-3)


def test_pictures_in_any_form(scenes, dataset, loaded, tmp_path):
    with Image.open(next(path for path in sorted(scenes.images.iterdir()))) as picture:
        turned = ImageOps.mirror(picture.convert("RGB"))
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 2  # mirrored: seen as it was before
    turned.save(out, "PNG", exif=exif)
    path = tmp_path / "one.png"
    path.write_bytes(out.getvalue())
    opened = Image.open(io.BytesIO(out.getvalue()))
    rows = [path, str(path), out.getvalue(), opened, ImageOps.mirror(turned), turned.convert("CMYK")]
    found = loaded.predict(images=rows).probabilities
    assert not loaded.predict(images=rows).problems[5]
    assert (found[:5] == found[0]).all()
    assert (found[5] != found[0]).any()  # not turned


def test_what_cant_be_used_is_told(loaded, tmp_path):
    wide = Image.new("RGB", (2000, 1000))
    broken = Image.open(io.BytesIO(small_png(3)[:-30]))
    images = [b"no picture", tmp_path / "absent.png", wide, None, small_png(1), "a\0b", broken]
    found = loaded.predict(images=images, captions=["a dog", None, " ", float("nan"), "a \ud800 cat", None, None])
    reasons = [dict(one) for one in found.problems]
    assert reasons[0] == {"image": "not a picture of a known format"}
    assert reasons[1] == {"image": "can't be read (No such file or directory)"}
    assert reasons[2] == {"image": "2000 × 1000 pixels are more than 1,000,000"}
    assert reasons[3:5] == [{}, {}]
    assert "file's name" in reasons[5]["image"] and "can't be decoded" in reasons[6]["image"]
    assert found.without_input.tolist() == [False, True, True, True, False, True, True]
    assert np.isfinite(found.probabilities).all()


def test_no_rows(loaded):
    found = loaded.predict(captions=[])
    assert found.probabilities.shape == (0, len(loaded.labels)) and found.problems == ()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, ValueError, "nothing to predict"),
        ({"captions": "a dog"}, TypeError, "captions should be a list"),
        ({"images": b"..."}, TypeError, "images should be a list"),
        ({"images": [None], "captions": ["a", "b"]}, ValueError, "images 1, captions 2"),
        ({"captions": [3]}, TypeError, "a caption should be a string, not int"),
        ({"images": [3]}, TypeError, "a picture should be a path"),
    ],
)
def test_misuse(loaded, given, error, words):
    with pytest.raises(error, match=words):
        loaded.predict(**given)


def test_what_it_reads(scenes, loaded):
    assert loaded.reads == ("image", "text") and loaded.number_columns == ()
    image = load_run(scenes.runs["image"].path, device="cpu")
    assert image.reads == ("image",)
    assert image.predict(captions=["a dog"]).without_input.all()


def test_what_cant_be_loaded(scenes, tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        load_run(tmp_path / "none")
    with pytest.raises(ConfigError, match="unknown device"):
        load_run(scenes.runs["image"].path, device="tpu")
    with pytest.raises(EncoderError, match="hf:none"):
        load_run(scenes.runs["image"].path, encoders={"image": "hf:none"})


def test_numbers_are_cells_or_not():
    found = GivenRows.of(None, None, {"price": [1, None, float("nan"), float("inf"), "3", True, 10**400]})
    np.testing.assert_array_equal(found.numbers[:, 0], [1, *[np.nan] * 6])
    assert [bool(one) for one in found.problems] == [False, False, False, True, True, True, True]


def test_numbers(wider, monkeypatch):
    monkeypatch.setattr(run_features, "find_encoder", lambda name, **_: wider.factory)
    loaded, data = load_run(wider.numbers.path, device="cpu", threads=1), wider.dataset
    assert loaded.reads == ("image", "text", "numbers") and loaded.number_columns == ("price", "age")
    expected = predict(wider.numbers, data, options=ExtractOptions(threads=1)).probabilities
    images = [ref and ref.read() for ref in data.images]
    given = {"age": data.numbers[:, 1], "more": [1] * 60, "price": data.numbers[:, 0]}
    found = loaded.predict(images=images, captions=data.captions, numbers=given)
    np.testing.assert_allclose(found.probabilities, expected, atol=2e-3)
    with pytest.raises(TableError, match="reads numbers 'price', which are not given"):
        loaded.predict(images=images[:1], numbers={"age": [1.0]})
    odd = loaded.predict(numbers={"age": [None, None], "price": [float("inf"), 3]})
    assert "inf in 'price' is not a finite number" in odd.problems[0]["numbers"] and not odd.problems[1]
    assert odd.without_input.tolist() == [True, False]


def test_words(wider):
    loaded = load_run(wider.words.path, device="cpu")
    expected = predict(wider.words, wider.plain, options=ExtractOptions()).probabilities
    assert loaded.reads == ("text",)
    found = loaded.predict(images=[b"not looked at"] * 60, captions=wider.plain.captions)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert not any(found.problems)
