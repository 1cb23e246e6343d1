from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse_cache import CacheCorrupt, CacheMissing, FeatureTable, RowsMissing
from clipfuse_cache.fingerprint import rows_digest
from clipfuse_cache.manifest import read_manifest, write_manifest
from clipfuse_cache.shard import ShardReader


@pytest.fixture(scope="module")
def table(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    toy.extract(folder, toy.inputs(30), toy.description(tokens=3, dim=4, dtype="float32"))
    return FeatureTable.open(folder)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.integers(0, 29), max_size=60))
def test_take_joins_by_id_in_any_order_with_repeats(toy, table, rows):
    texts = toy.inputs(30)
    ids = [f"row-{row}" for row in rows]
    values, valid = table.take(ids)
    assert values.shape == (len(ids), 3, 4)
    assert values.dtype == np.float32
    for place, name in enumerate(ids):
        expected, ok = toy.features_of(texts[name], table.description)
        assert valid[place] == ok
        assert np.array_equal(values[place], expected)


def test_rows_without_input_or_broken_are_masked_zero_and_the_broken_ones_listed(toy, table):
    values, valid = table.take(list(toy.inputs(30)))
    assert [row for row in range(30) if not valid[row]] == [3, 5, 10, 16, 17, 24, 27]
    assert not values[~valid].any()
    assert values[valid].any(axis=(1, 2)).all()
    assert table.failures() == dict.fromkeys(["row-5", "row-16", "row-27"], "can't be read")


def test_missing_rows_are_an_error_that_counts_and_names_them(table):
    with pytest.raises(RowsMissing, match=r"2 of 3 rows .* the first is 'nobody'.*clipfuse extract"):
        table.take(["row-1", "nobody", "row-30"])


def test_a_row_encoded_again_is_taken_from_the_later_shard(toy, tmp_path):
    texts = toy.inputs(12)
    toy.extract(tmp_path, texts)
    texts |= {"row-1": "new text", "row-2": "broken new", "row-3": "no longer absent", "row-5": "mended"}
    assert toy.extract(tmp_path, texts) == ["row-1", "row-2", "row-3", "row-5"]
    table = toy.check(tmp_path, texts)
    assert table.failures() == {"row-2": "can't be read"}


def test_failures_reads_only_what_it_must(toy, tmp_path):
    texts = {name: "fine" + name for name in "abcdefgh"} | {"d": "broken"}
    toy.extract(tmp_path, texts, shard_rows=2)
    (tmp_path / "shard-000000.h5").unlink()
    assert FeatureTable.open(tmp_path).failures() == {"d": "can't be read"}


def test_notes_follow_the_last_shard_of_a_row_and_only_what_must_be_is_read(toy, tmp_path):
    texts = dict.fromkeys("abcdefgh", "fine") | {"d": "cut 2", "e": "two blanks here 2", "h": "cut 2"}
    texts = {name: f"{name}{text}" for name, text in texts.items()}
    toy.extract(tmp_path, texts, shard_rows=2)
    toy.extract(tmp_path, texts | {"d": "now fine", "h": "blanks in here 2"}, shard_rows=2)
    table = FeatureTable.open(tmp_path)
    assert [entry.notes for entry in table.manifest.shards] == [
        {},
        {"truncated": 1},
        {"blanks removed": 1, "truncated": 1},
        {"truncated": 1},
        {"blanks removed": 1, "truncated": 1},
    ]
    (tmp_path / "shard-000000.h5").unlink()
    both = ("blanks removed", "truncated")
    assert table.notes() == {"e": both, "h": both}
    toy.extract(tmp_path / "mended", texts)
    toy.extract(tmp_path / "mended", texts | {"e": "fine"})
    assert FeatureTable.open(tmp_path / "mended").notes() == {"d": ("truncated",), "h": ("truncated",)}


def test_an_unfinished_or_absent_table_is_missing(toy, tmp_path):
    toy.extract(tmp_path / "begun", toy.inputs(12), stop_after=2)
    for folder in (tmp_path / "begun", tmp_path / "nowhere"):
        with pytest.raises(CacheMissing, match=f"{folder.name}.*clipfuse extract"):
            FeatureTable.open(folder)


def test_completeness_is_for_exact_rows_order_inputs_and_sizes(toy, tmp_path):
    texts = toy.inputs(12)
    toy.extract(tmp_path, texts)
    table = FeatureTable.open(tmp_path)

    def inputs(texts):
        return rows_digest(texts, map(toy.digest_of, texts.values()))

    assert table.is_complete_for(inputs(texts))
    assert not table.is_complete_for(inputs(dict(reversed(texts.items()))))
    assert not table.is_complete_for(inputs(texts | {"row-1": "other"}))
    path = tmp_path / "shard-000001.h5"
    data = path.read_bytes()
    for broken in (data[:-1], data + b"x"):
        path.write_bytes(broken)
        assert not table.is_complete_for(inputs(texts))
    path.unlink()
    assert not table.is_complete_for(inputs(texts))


def foreign(toy, folder, tmp_path):
    """A shard of another encoder's table, of the same size and index."""
    toy.extract(tmp_path / "foreign", toy.inputs(20), toy.description(weights="cd" * 32))
    return (tmp_path / "foreign" / "shard-000001.h5").read_bytes()


def other_rows(toy, folder, tmp_path):
    toy.extract(tmp_path / "rows", toy.inputs(20, prefix="raw"))
    return (tmp_path / "rows" / "shard-000001.h5").read_bytes()


def flipped(toy, folder, tmp_path):
    data = bytearray((folder / "shard-000001.h5").read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


DAMAGES = {
    "flipped": flipped,
    "cut": lambda _toy, folder, _tmp: (folder / "shard-000001.h5").read_bytes()[:-100],
    "empty": lambda *_: b"",
    "zeroed": lambda _toy, folder, _tmp: bytes(len((folder / "shard-000001.h5").read_bytes())),
    "swapped": lambda _toy, folder, _tmp: (folder / "shard-000002.h5").read_bytes(),
    "deleted": lambda *_: None,
    "foreign": foreign,
    "other_rows": other_rows,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("unfinished", [False, True], ids=["complete", "unfinished"])
def test_damage_is_named_by_take_and_made_again_by_the_writer(toy, tmp_path, damage, unfinished):
    folder, texts = tmp_path / "table", toy.inputs(20)
    toy.extract(folder, texts, stop_after=4 if unfinished else None)
    data = DAMAGES[damage](toy, folder, tmp_path)
    path = folder / "shard-000001.h5"
    path.unlink() if data is None else path.write_bytes(data)
    if not unfinished:
        with pytest.raises(CacheCorrupt, match=r"shard-000001.h5.*[Rr]un clipfuse extract"):
            FeatureTable.open(folder).take(["row-5"])
        if data is not None:
            path.unlink()  # what the message says; a flipped bit does not change the size
    # shards 0, 2 and 3 are kept
    last = [f"row-{row}" for row in range(16, 20)] if unfinished else []
    assert toy.extract(folder, texts) == [f"row-{row}" for row in range(4, 8)] + last
    toy.check(folder, texts)


def test_the_writer_finds_damage_itself_when_there_is_work_to_do(toy, tmp_path):
    toy.extract(tmp_path, toy.inputs(20))
    (tmp_path / "shard-000001.h5").write_bytes(flipped(toy, tmp_path, tmp_path))
    texts = toy.inputs(22)
    writer = toy.open_writer(tmp_path, texts)
    assert (writer.damaged, writer.stale, writer.new_rows) == (("shard-000001.h5",), (), 6)
    toy.extract(tmp_path, texts)
    toy.check(tmp_path, texts)
    assert sorted(toy.files(tmp_path)) == ["manifest.json", *(f"shard-00000{n}.h5" for n in (0, 2, 3, 4, 5, 6))]


def test_extra_shards_are_not_read_and_go_with_the_next_commit(toy, tmp_path):
    toy.extract(tmp_path, toy.inputs(20))
    (tmp_path / "shard-000009.h5").write_bytes((tmp_path / "shard-000001.h5").read_bytes())
    (tmp_path / "shard-000001 (copy).h5").write_bytes(b"")
    toy.check(tmp_path, toy.inputs(20))
    toy.extract(tmp_path, toy.inputs(21))
    toy.check(tmp_path, toy.inputs(21))
    assert len(list(tmp_path.iterdir())) == 7


def test_a_manifest_that_names_another_sha256_is_believed_before_the_shard(toy, tmp_path):
    toy.extract(tmp_path, toy.inputs(8))
    manifest = read_manifest(tmp_path)
    shards = tuple(replace(entry, sha256="00" * 32) for entry in manifest.shards)
    write_manifest(tmp_path, replace(manifest, shards=shards))
    with pytest.raises(CacheCorrupt, match="SHA-256"):
        FeatureTable.open(tmp_path).take(["row-1"])


def test_rows_in_the_tables_order_are_read_where_they_belong(toy, tmp_path, monkeypatch):
    texts, into = toy.inputs(22), []
    toy.extract(tmp_path, texts, shard_rows=5)  # the last shard is smaller
    read = ShardReader.values
    monkeypatch.setattr(ShardReader, "values", lambda self, **given: into.append(given) or read(self, **given))
    table, names = FeatureTable.open(tmp_path), list(texts)
    for wanted, in_place in ((names, 5), (names[::-1], 0), (names[3:17], 2), (names[5:10] + names[:5], 2)):
        into.clear()
        found = table.take(wanted)
        for place, name in enumerate(wanted):
            assert np.array_equal(found.values[place], toy.features_of(texts[name], table.description)[0])
        assert sum("into" in one for one in into) == in_place


def test_a_damaged_shard_is_named_wherever_it_stands(toy, tmp_path):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts, shard_rows=4)
    table = FeatureTable.open(tmp_path)
    for index in range(5):
        path = tmp_path / f"shard-{index:06d}.h5"
        whole = path.read_bytes()
        for spoilt in (whole[:-1], whole + b"x", whole[:2000] + b"damage" + whole[2006:], b""):
            path.write_bytes(spoilt)
            for read in (table.take, table.locate, lambda _: list(table.shards())):
                with pytest.raises(CacheCorrupt, match=f"shard-{index:06d}.h5: not the file"):
                    read(list(texts))
        path.write_bytes(whole)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_reading_a_few_rows_stops_at_their_shard(toy, tmp_path):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts, shard_rows=4)
    (tmp_path / "shard-000000.h5").write_bytes(b"not looked at")
    (tmp_path / "shard-000003.h5").write_bytes(b"read ahead, and not wanted")
    found = FeatureTable.open(tmp_path).take(["row-18"])
    assert found.valid.tolist() == [True]
