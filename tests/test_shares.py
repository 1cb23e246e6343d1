"""Several workers, each on its share of the shards of one cache."""

from dataclasses import replace

import numpy as np
import pytest

from clipfuse.extract import ExtractOptions, extract
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse_cache import CacheError, FeatureCache, Share, merge
from clipfuse_cache.times import TIMES

OPTIONS = ExtractOptions(shard_rows=4, batch_size=3, threads=1)


def make(rows):
    images = MemoryImages({f"p{n}": small_png(n) for n in range(rows)})
    return fake_dataset(images, {name: f"caption of {name}" for name in images.files})


def files(root):
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != TIMES]  # seconds are never the same
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def encoder():
    return FakeFactory(outputs=("projected", "pooled"), batch_effect=0.1)


@pytest.fixture
def whole(tmp_path):
    extract([encoder()], make(50), FeatureCache(tmp_path / "whole"), OPTIONS)
    return files(tmp_path / "whole")


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_together_they_make_what_one_makes(tmp_path, whole, count):
    cache, dataset = FeatureCache(tmp_path / "shared"), make(50)
    encoded = 0
    for index in reversed(range(count)):
        factory = encoder()
        report = extract([factory], dataset, cache, replace(OPTIONS, share=Share(index, count)))
        encoded += factory.encoded
        assert report.tables == () and cache.tables() == []
        assert (report.shards > 0) == (factory.encoded > 0)
    assert encoded == 2 * 50  # no row twice
    assert len(merge(cache)) == 4
    assert files(cache.root) == whole


def test_a_worker_that_is_called_again_has_nothing_to_do(tmp_path):
    cache = FeatureCache(tmp_path)
    extract([encoder()], make(50), cache, replace(OPTIONS, share=Share(0, 2)))
    again = encoder()
    extract([again], make(50), cache, replace(OPTIONS, share=Share(0, 2)))
    assert again.loads == 0


def test_merge_names_what_is_missing(tmp_path):
    cache = FeatureCache(tmp_path)
    extract([encoder()], make(12), cache, replace(OPTIONS, share=Share(0, 2)))
    with pytest.raises(CacheError, match=r"lacks 1 of 3 shards \(shard-000001.h5\)"):
        merge(cache)


def test_one_without_a_share_makes_what_is_missing(tmp_path, whole):
    cache = FeatureCache(tmp_path / "shared")
    extract([encoder()], make(50), cache, replace(OPTIONS, share=Share(1, 3)))
    factory = encoder()
    report = extract([factory], make(50), cache, OPTIONS)
    assert 0 < factory.encoded < 100 and len(report.tables) == 4
    assert files(cache.root) == whole


def test_workers_that_begin_with_other_batch_sizes_go_by_the_first(tmp_path, whole):
    """Found sizes differ from one GPU to another; the plan says which one counts."""
    cache = FeatureCache(tmp_path / "shared")
    for index, size in enumerate((3, None, None)):
        extract([encoder()], make(50), cache, replace(OPTIONS, batch_size=size, share=Share(index, 3)))
    merge(cache)
    assert files(cache.root) == whole


def test_new_rows_are_shared_too(tmp_path):
    cache = FeatureCache(tmp_path)
    extract([encoder()], make(10), cache, OPTIONS)
    for index in range(2):
        extract([encoder()], make(30), cache, replace(OPTIONS, share=Share(index, 2)))
    merge(cache)
    for table in cache.tables():
        found = table.take(make(30).ids)
        assert found.valid.all() and np.abs(found.values).min(axis=(1, 2)).all()
    factory = encoder()
    report = extract([factory], make(30), cache, OPTIONS)
    assert factory.loads == 0 and all(one.encoded == 0 for one in report.tables)


def test_other_processes_go_by_what_is_settled_here(tmp_path, monkeypatch):
    """A measurement is made once: what this process finds binds the others, which make none."""
    from clipfuse import precision

    seconds = {"float32": 1.0, "bfloat16": 0.1}
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(
        precision, "_seconds_per_row", lambda _, specs, name: {spec.modality: seconds[name] for spec in specs}
    )
    cache, dataset = FeatureCache(tmp_path), make(100)
    options = replace(OPTIONS, precision="auto", batch_size=None)

    def make_shards():
        for index in range(2):
            extract([encoder()], dataset, cache, replace(options, share=Share(index, 2)))
        return {}

    mine = encoder()
    report = extract([mine], dataset, cache, options, make_shards=make_shards)
    assert mine.loads == 0 and {one.encoded for one in report.tables} == {100}
    assert {table.description.encoder["precision"] for table in cache.tables()} == {"bfloat16"}
    assert len(list((tmp_path / "tables").glob("*/"))) == 4
