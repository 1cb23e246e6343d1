"""How large a batch may be, and what forward passes compute in."""

from dataclasses import replace

import pytest
import torch

from clipfuse import precision, probe
from clipfuse.encoders import find_encoder
from clipfuse.extract import ExtractOptions, extract
from clipfuse.precision import settle_precision
from clipfuse.probe import default_batch_size, largest_that_fits
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, load_encoders, small_png
from clipfuse_cache import FeatureCache


@pytest.mark.parametrize(
    ("most", "room", "expected"), [(512, 10**6, 512), (512, 100, 64), (300, 10**6, 256), (8, 0, 1)]
)
def test_the_largest_power_of_two_that_fits(most, room, expected):
    assert largest_that_fits(most, lambda rows: rows <= room) == expected


def test_running_out_of_memory_is_not_fitting():
    tried = []

    def fits(rows):
        tried.append(rows)
        if rows > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return True

    assert largest_that_fits(128, fits) == 16
    assert tried == [128, 64, 32, 16]
    with pytest.raises(RuntimeError, match="broken"):
        largest_that_fits(4, lambda _: (_ for _ in ()).throw(RuntimeError("broken")))


def test_batches_on_a_processor_hold_about_as_many_pixels():
    assert [default_batch_size(side * side) for side in (96, 224, 384)] == [64, 16, 8]
    assert default_batch_size(0) == 64


def test_largest_batch_asks_the_device(monkeypatch):
    """The glue to torch.cuda, with the memory of a made-up device."""
    (image, text) = load_encoders(FakeFactory())
    sizes = []
    for encoder in (image, text):
        encode = encoder.encode
        encoder.encode = lambda batch, encode=encode: (sizes.append(len(batch["vectors"])), encode(batch))[1]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 50)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 50 + 4 * sizes[-1])
    assert probe.largest_batch(image, "cuda", 4) == 64
    assert sizes == [512, 256, 128, 64]
    sizes.clear()
    length = text.prepare(probe._CAPTION * 200).length
    assert probe.largest_batch(text, "cuda", 4) == 512 == 1 << 9
    assert sizes == [512 * 32 // length]
    monkeypatch.setattr(probe, "memory_bytes", lambda: 24 * 4 * 32)
    assert probe.largest_batch(image, "cuda", 4) == 8  # the machine's memory is the narrower one


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


def settled(factory, cache, rows=10**6, device="cpu", *, alone=True):
    rows_of = {"image": rows, "text": rows}
    found = settle_precision(factory, factory.specs, rows_of, cache, "float16", device, alone=alone)
    return {one.modality: one.precision for one in found}


@pytest.fixture
def measured(monkeypatch):
    """Seconds per row that a measurement is to find."""
    found = {"float32": {"image": 1e-3, "text": 1e-3}, "bfloat16": {"image": 0.5e-3, "text": 0.9e-3}}
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(
        precision, "_seconds_per_row", lambda _, specs, name: {one.modality: found[name][one.modality] for one in specs}
    )
    return found


def test_bfloat16_where_it_is_clearly_faster(measured, cache, monkeypatch):
    assert settled(FakeFactory(), cache) == {"image": "bfloat16", "text": "float32"}
    assert settled(FakeFactory(), cache, rows=1000) == {"image": "float32", "text": "float32"}  # a second: not worth it
    assert settled(FakeFactory(), cache, device="cuda") == {"image": "bfloat16", "text": "bfloat16"}
    assert settled(FakeFactory(), cache, alone=False) == {"image": "float32", "text": "float32"}
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert settled(FakeFactory(), cache) == {"image": "float32", "text": "float32"}


def test_what_was_begun_stays(measured, cache):
    """Whatever a later measurement would find, or a GPU would take."""
    images = MemoryImages({f"p{n}": small_png(n) for n in range(3)})
    dataset = fake_dataset(images, {name: f"caption of {name}" for name in images.files})
    extract([FakeFactory()], dataset, cache, ExtractOptions(precision="float32"))
    assert settled(FakeFactory(), cache) == {"image": "float32", "text": "float32"}
    assert settled(FakeFactory(), cache, device="cuda") == {"image": "float32", "text": "float32"}
    fresh = FakeFactory(name="other")
    report = extract([fresh], dataset, cache, ExtractOptions(precision="bfloat16"))
    assert {one.table.description.encoder["precision"] for one in report.tables} == {"bfloat16"}
    again = FakeFactory(name="other")
    report = extract([again], dataset, cache, ExtractOptions(precision="auto"))
    assert again.loads == 0 and all(one.encoded == 0 for one in report.tables)


def test_seconds_are_measured_on_the_real_thing():
    factory = find_encoder("mini")
    for name in ("float32", "bfloat16"):
        found = precision._seconds_per_row(factory, factory.specs, name)
        assert set(found) == {"image", "text"} and all(0 < seconds < 10 for seconds in found.values())


def test_a_precision_that_is_asked_for(cache):
    images = MemoryImages({f"p{n}": small_png(n) for n in range(3)})
    dataset = fake_dataset(images, {name: f"caption of {name}" for name in images.files})
    options = ExtractOptions(precision="bfloat16")
    for one in extract([FakeFactory()], dataset, cache, options).tables:
        assert one.table.description.encoder["precision"] == "bfloat16"
    own = extract([FakeFactory()], dataset, cache, replace(options, precision=None))
    assert {one.table.description.encoder["precision"] for one in own.tables} == {"float32"}
