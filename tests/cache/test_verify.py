from __future__ import annotations

from dataclasses import replace

import pytest

from clipfuse_cache import CacheMissing, FeatureCache, FeatureTable
from clipfuse_cache.manifest import read_manifest, read_plan, write_manifest, write_plan
from clipfuse_cache.verify import remove_damaged, verify


@pytest.fixture
def texts(toy):
    return toy.inputs(20)


@pytest.fixture
def cache(toy, tmp_path, texts):
    """Samples, a complete table "a" and an unfinished one "b" that has three of its five shards."""
    made = FeatureCache(tmp_path / "features")
    made.write_samples(toy.samples(texts))
    toy.extract(made.root / "tables" / "a", texts)
    toy.extract(made.root / "tables" / "b", texts, stop_after=3)
    return made


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def problems(cache):
    return [(problem.file, problem.kind) for problem in verify(cache).problems]


def test_a_cache_that_is_whole(toy, cache, texts):
    said = []
    found = verify(cache, lambda *args: said.append(args))
    assert (found.tables, found.shards, found.problems) == (2, 8, ())
    assert found.bytes == sum(path.stat().st_size for path in cache.root.rglob("shard-*.h5"))
    assert said == [("checking shards", n, 8) for n in range(1, 9)]
    toy.extract(cache.root / "tables" / "a", texts | {"more": "rows"})  # ahead of samples.h5 is not wrong
    (cache.root / "tables" / "a" / f".shard-000009.h5.{'0' * 16}.tmp").write_bytes(b"a killed writer's")
    assert problems(cache) == []


def test_every_problem_is_named_and_none_hides_another(cache):
    a, b = (cache.root / "tables" / name for name in "ab")
    for path in (a / "shard-000000.h5", a / "shard-000003.h5", b / "shard-000001.h5", cache.root / "samples.h5"):
        flip(path)
    (a / "shard-000001.h5").unlink()
    (a / "shard-000002.h5").write_bytes((a / "shard-000004.h5").read_bytes())
    (a / "shard-000009.h5").write_bytes((a / "shard-000004.h5").read_bytes())
    (a / "notes.txt").write_text("mine")
    found = verify(cache)
    assert [(problem.file, problem.kind) for problem in found.problems] == [
        ("samples.h5", "damaged"),
        ("tables/a/shard-000000.h5", "damaged"),
        ("tables/a/shard-000001.h5", "missing"),
        ("tables/a/shard-000002.h5", "damaged"),
        ("tables/a/shard-000003.h5", "damaged"),
        ("tables/a/shard-000009.h5", "extra"),
        ("tables/b/shard-000001.h5", "damaged"),
    ]
    assert found.problems[1].what == "not the file that was written (its SHA-256 differs)"
    assert found.shards == 7
    assert found.foreign == ("tables/a/notes.txt",)


def test_files_that_are_not_the_caches_are_no_problem(cache):
    a, b = (cache.root / "tables" / name for name in "ab")
    for path in (a / ".DS_Store", b / "notes.txt", b / "shard-1.h5"):
        path.write_text("mine")
    found = verify(cache)
    assert found.problems == ()
    assert found.foreign == ("tables/a/.DS_Store", "tables/b/notes.txt", "tables/b/shard-1.h5")


@pytest.mark.parametrize("name", ["manifest.json", "plan.json"])
def test_a_damaged_manifest_or_plan(cache, name):
    folder = cache.root / "tables" / ("a" if name == "manifest.json" else "b")
    (folder / name).write_bytes(b"{")
    assert problems(cache) == [(f"tables/{folder.name}/{name}", "damaged")]


def test_lost_samples_and_lost_manifests(cache):
    (cache.root / "samples.h5").unlink()
    (cache.root / "tables" / "a" / "manifest.json").unlink()
    assert problems(cache) == [("samples.h5", "missing"), ("tables/a/manifest.json", "missing")]
    with pytest.raises(CacheMissing, match="not a feature cache"):
        verify(FeatureCache(cache.root / "nowhere"))


@pytest.mark.parametrize("field", ["rows", "valid", "failed", "bytes", "notes"])
def test_counts_that_are_not_those_of_the_shard(cache, field):
    a, b = (cache.root / "tables" / name for name in "ab")
    manifest = read_manifest(a)
    wrong = replace(manifest.shards[1], **{field: {"truncated": 9} if field == "notes" else 77})
    write_manifest(a, replace(manifest, shards=(manifest.shards[0], wrong, *manifest.shards[2:])))
    write_plan(b, replace(read_plan(b), first_shard=1, rows=16, kept=(replace(wrong, index=0),)))
    found = verify(cache).problems
    assert found[0].file == "tables/a/manifest.json"
    assert found[0].what == "what it says of shard-000001.h5 is not what that holds"
    assert [problem.file for problem in found[1:]] == ["tables/b/shard-000000.h5"]  # another SHA-256


def test_a_manifest_that_leaves_rows_out_or_counts_them_wrong(cache):
    folder = cache.root / "tables" / "a"
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, rows=19))
    assert problems(cache) == [("tables/a/manifest.json", "damaged")]
    write_manifest(folder, replace(manifest, shards=manifest.shards[:-1]))
    found = verify(cache).problems
    assert found[0].what == "it says 20 rows, and 4 of the 20 samples are not there"
    assert [problem.file for problem in found[1:]] == ["tables/a/shard-000004.h5"]  # now extra


def test_what_is_removed_is_made_again_and_nothing_else(toy, cache, texts):
    """A flipped bit does not change a file's size: to an extraction the table looks complete until it is removed."""
    a, b = (cache.root / "tables" / name for name in "ab")
    for path in (a / "shard-000001.h5", b / "shard-000002.h5"):
        flip(path)
    (b / "plan.json").write_bytes(b"{")
    (a / "notes.txt").write_text("mine")
    assert toy.extract(a, texts) == []
    found = verify(cache)
    # b's shards can't be checked without its plan; its next writer does
    assert remove_damaged(cache, found) == ["tables/a/shard-000001.h5", "tables/b/plan.json"]
    assert (a / "notes.txt").exists()
    assert toy.extract(a, texts) == list(texts)[4:8]
    assert toy.extract(b, texts) == list(texts)[8:]
    for folder in (a, b):
        toy.check(folder, texts)
    (a / "notes.txt").unlink()
    assert problems(cache) == []


def test_a_removed_manifest_costs_no_encoding(toy, cache, texts):
    folder = cache.root / "tables" / "a"
    before = FeatureTable.open(folder).manifest
    flip(folder / "manifest.json")
    remove_damaged(cache, verify(cache))
    assert toy.extract(folder, texts) == []
    assert FeatureTable.open(folder).manifest == before
