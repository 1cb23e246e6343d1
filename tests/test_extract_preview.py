"""``extract --dry-run``'s part of the library: what it counts is what extract then does, and it leaves no trace."""

from __future__ import annotations

import pytest

from clipfuse.errors import CacheError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.extract_preview import preview_extraction
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse_cache import FeatureCache

SMALL = ExtractOptions(shard_rows=8, precision="auto", threads=2)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def make(rows=20, changed=()):
    images = MemoryImages({f"p{row}": small_png(row + 100 * (row in changed)) for row in range(rows)})
    images.times |= dict.fromkeys((f"p{row}" for row in changed), 1)
    return images, fake_dataset(images, {f"p{row}": f"caption {row}" if row % 5 else None for row in range(rows)})


def files(cache):
    return {path: path.read_bytes() for path in cache.root.rglob("*") if path.is_file()}


def counts(preview):
    return {one.name: (one.there, one.to_encode, one.absent, one.shards, one.stale) for one in preview.tables}


def test_a_new_cache_is_not_even_made(cache):
    images, dataset = make()
    images.files["p3"] = b"no picture"
    images.unreadable.add("p4")
    factory = FakeFactory()
    preview = preview_extraction([factory], dataset, cache, SMALL)
    assert counts(preview) == {"fake/image/projected": (0, 19, 1, 3, 0), "fake/text/projected": (0, 16, 4, 3, 0)}
    assert {(entry.id, entry.part) for entry in preview.ledger} == {("p3", "image"), ("p4", "image")}
    assert factory.loads == 0 and not cache.root.exists()
    images.unreadable.clear()
    report = extract([factory], dataset, cache, SMALL)
    assert report.shards == 6 and [entry.id for entry in report.ledger] == ["p3"]


def test_what_is_there_and_what_has_changed(cache):
    _, dataset = make()
    factory = FakeFactory()
    extract([factory], dataset, cache, SMALL)
    before, loads = files(cache), factory.loads
    nothing = preview_extraction([factory], dataset, cache, SMALL)
    assert {one[:2] for one in counts(nothing).values()} == {(20, 0)} and nothing.ledger == ()
    _, more = make(24, changed=(1, 2))
    preview = preview_extraction([factory, FakeFactory("other", modalities=("text",))], more, cache, SMALL)
    assert counts(preview) == {
        "fake/image/projected": (18, 6, 0, 1, 2),
        "fake/text/projected": (20, 3, 1, 1, 0),
        "other/text/projected": (0, 19, 5, 3, 0),
    }
    assert files(cache) == before and factory.loads == loads
    _, fewer = make(19)
    assert preview_extraction([factory], fewer, cache, SMALL).removed == ("p19",)


def test_what_the_cache_knows_to_be_unusable_is_told_without_decoding(cache):
    images, dataset = make()
    images.files["p3"] = b"no picture"
    extract([FakeFactory()], dataset, cache, SMALL)
    images.reads.clear()
    preview = preview_extraction([FakeFactory()], dataset, cache, SMALL)
    assert [entry.id for entry in preview.ledger] == ["p3"] and images.reads == []


def test_a_cache_of_other_rows_is_refused(cache):
    _, dataset = make()
    extract([FakeFactory()], dataset, cache, SMALL)
    images = MemoryImages({"x": small_png(1)})
    with pytest.raises(CacheError, match="about other samples"):
        preview_extraction([FakeFactory()], fake_dataset(images, {"x": "y"}), cache, SMALL)
