from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from clipfuse_cache import CacheCorrupt, CacheMissing, FeatureCache, FeatureTable, FingerprintMismatch


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def fill(toy, cache, texts, about, **more):
    """As ``clipfuse extract`` does: through ``cache.writer`` and no folder name of its own."""
    digests = [toy.digest_of(text) for text in texts.values()]
    folder = cache.writer(about, tuple(texts), digests, shard_rows=4, batch_size=2).folder
    toy.extract(folder, texts, about, **more)
    return folder


def test_tables_are_listed_by_name_and_found_by_fingerprint(toy, cache):
    texts = toy.inputs(6)
    wanted = [toy.description(name=name, view=name) for name in ("b", "a", "c:x/y")]
    for about in wanted:
        fill(toy, cache, texts, about)
    assert [table.description.name for table in cache.tables()] == [
        "a/text/pooled",
        "b/text/pooled",
        "c:x/y/text/pooled",
    ]
    for about in wanted:
        assert cache.table(about).description == about


def test_what_is_not_there_is_said_with_the_fields_that_differ(toy, cache):
    fill(toy, cache, toy.inputs(6), toy.description())
    with pytest.raises(FingerprintMismatch, match=r"view: 'flipped', not 'identity'.*--encoder toy"):
        cache.table(toy.description(view="flipped"))
    with pytest.raises(CacheMissing, match=r"holds no clip/text/pooled.*--encoder clip"):
        cache.table(toy.description(name="clip", view="flipped"))
    with pytest.raises(CacheMissing, match="not a feature cache"):
        cache.samples()


def test_one_fingerprint_is_one_table_whatever_its_name(toy, cache):
    texts, about = toy.inputs(12), toy.description()
    renamed = replace(about, name="other/text/pooled")
    folder = fill(toy, cache, texts, about, stop_after=2)
    assert fill(toy, cache, texts, renamed, stop_after=0) == folder  # begun under another name
    assert fill(toy, cache, texts, renamed) == folder
    assert fill(toy, cache, texts, renamed) == folder  # complete under another name
    assert [table.description.name for table in cache.tables()] == ["toy/text/pooled"]
    assert cache.table(renamed).folder == folder


def test_unfinished_tables_are_those_that_lack_shards(toy, cache):
    texts = toy.inputs(12)
    assert cache.unfinished() == []
    folder = fill(toy, cache, texts, toy.description(), stop_after=2)
    plan = (folder / "plan.json").read_bytes()
    assert cache.unfinished() == [folder]
    assert cache.tables() == []
    fill(toy, cache, texts, toy.description())
    assert cache.unfinished() == []
    (folder / "plan.json").write_bytes(plan)  # killed right after the manifest was written
    assert cache.unfinished() == []
    fill(toy, cache, toy.inputs(20), toy.description(), stop_after=1)
    assert cache.unfinished() == [folder]
    assert [table.folder for table in cache.tables()] == [folder]


@pytest.mark.parametrize(
    "name",
    [
        "timm:resnet50.a1/image/pooled",
        "../../../etc/x",
        "a b\tc\n",
        "",
        ".",
        "漢字" * 100,
        "x" * 500,
        "con*?|<>:\\",
        "~",
    ],
    ids=lambda name: ascii(name)[:16],
)
def test_any_name_makes_a_folder_below_tables(toy, cache, name):
    folder = fill(toy, cache, toy.inputs(2), toy.description(name=name))
    assert folder.parent == cache.root / "tables"
    assert folder.name.isascii()
    assert not set(folder.name) & set('/\\:*?"<>| \t\n~')
    assert [table.description.encoder_name for table in cache.tables()] == [name]


def test_a_damaged_manifest_is_named_and_does_not_hide(toy, cache):
    folder = fill(toy, cache, toy.inputs(6), toy.description())
    (folder / "manifest.json").write_bytes(b"{}")
    with pytest.raises(CacheCorrupt, match=f"{folder.name}/manifest.json.*Delete it and run clipfuse extract"):
        cache.tables()
    (folder / "manifest.json").unlink()
    fill(toy, cache, toy.inputs(6), toy.description())
    toy.check(folder, toy.inputs(6))


def test_samples_round_trip_and_leftovers_go(toy, cache):
    samples = toy.samples(toy.inputs(5))
    cache.write_samples(samples)
    leftover = cache.root / f".samples.h5.{'0' * 16}.tmp"
    leftover.write_bytes(b"cut short")
    cache.write_samples(samples)
    assert toy.comparable(cache.samples()) == toy.comparable(samples)
    assert [path.name for path in cache.root.iterdir()] == ["samples.h5"]


def test_leftovers_beside_a_complete_table_go(toy, cache):
    texts = toy.inputs(8)
    folder = cache.root / "tables" / "toy"
    toy.extract(folder, texts)
    leftover = folder / f".plan.json.{'0a' * 8}.tmp"
    leftover.write_bytes(b"{")
    cache.write_samples(toy.samples(texts))
    assert not leftover.exists() and (folder / "manifest.json").exists()


def test_the_package_needs_neither_torch_nor_clipfuse(toy, cache):
    folder = fill(toy, cache, toy.inputs(6), toy.description())
    code = (
        "import sys, pkgutil, importlib, clipfuse_cache\n"
        "for module in pkgutil.iter_modules(clipfuse_cache.__path__):\n"
        "    importlib.import_module('clipfuse_cache.' + module.name)\n"
        "from pathlib import Path\n"
        f"print(clipfuse_cache.FeatureTable.open(Path({str(folder)!r})).take(['row-1']).valid[0])\n"
        "print(sorted({'torch', 'clipfuse', 'pydantic', 'sklearn', 'PIL'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.stdout.split("\n")[:2] == ["True", "[]"], result.stderr


def test_opening_reads_manifests_only(toy, cache):
    folder = fill(toy, cache, toy.inputs(6), toy.description())
    for path in folder.glob("shard-*.h5"):
        path.unlink()
    assert FeatureTable.open(folder).manifest.rows == 6
    assert len(cache.tables()) == 1
