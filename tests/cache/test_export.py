from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse_cache import CacheCorrupt, CacheError, DiskFull, FeatureTable, export_formats
from clipfuse_cache.export import SUFFIXES, export_table


def read_h5(path):
    with h5py.File(path) as file:
        about = {name: value if isinstance(value, str) else int(value) for name, value in file.attrs.items()}
        return list(file["ids"].asstr()[()]), file["features"][()], file["valid"][()], about


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return list(file["ids"]), file["features"], file["valid"], json.loads(str(file["description"]))


def read_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table(path)
    about = json.loads(found.schema.metadata[b"clipfuse"])
    values = np.array(found["features"].to_pylist(), np.float32).reshape(found.num_rows, about["tokens"], about["dim"])
    values = values[:, 0] if about["tokens"] == 1 else values
    return found["id"].to_pylist(), values.astype(about["dtype"]), np.array(found["valid"].to_pylist(), bool), about


READERS = dict(zip(SUFFIXES, (read_h5, read_npz, read_parquet), strict=True))


def check(path, samples, table):
    ids, values, valid, about = READERS[path.suffix](path)
    expected = table.take(samples.ids)
    assert tuple(ids) == samples.ids
    assert valid.dtype == bool and np.array_equal(valid, expected.valid)
    wanted = expected.values[:, 0] if table.description.tokens == 1 else expected.values
    assert (values.dtype, values.shape) == (wanted.dtype, wanted.shape)
    assert np.array_equal(values, wanted)
    assert about["fingerprint"] == table.description.fingerprint
    assert json.loads(about["encoder"]) == table.description.encoder
    assert json.loads(about["provenance"]) == table.description.provenance
    assert [path.name for path in path.parent.glob(".*.tmp")] == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("about", [{}, {"tokens": 3, "dim": 4, "dtype": "float32"}], ids=["vectors", "tokens"])
def test_rows_in_the_samples_order_with_what_the_table_is(toy, tmp_path, monkeypatch, suffix, about):
    monkeypatch.setattr(export_formats, "_BLOCK_BYTES", 100)  # several blocks
    texts = toy.inputs(20) | {"naïve ☃": "text", "": "no id"}
    toy.extract(tmp_path / "table", texts, toy.description(**about))
    texts = dict(reversed(texts.items())) | {"row-2": "edited", "row-9": ""}
    toy.extract(tmp_path / "table", texts, toy.description(**about))
    samples, table = toy.samples(texts), FeatureTable.open(tmp_path / "table")
    path, said = tmp_path / "new" / f"out{suffix}", []
    size = export_table(table, samples, path, progress=lambda *args: said.append(args))
    check(path, samples, table)
    assert size == path.stat().st_size
    shards = len(table.manifest.shards)
    assert said == [("reading shards", n, shards) for n in range(1, shards + 1)]
    again = path.with_name(f"again{suffix}")
    export_table(table, samples, again)
    if suffix != ".npz":  # which has the time in it
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_at_all(toy, tmp_path, suffix):
    toy.extract(tmp_path / "table", {})
    samples = toy.samples({})
    path = tmp_path / f"out{suffix}"
    export_table(FeatureTable.open(tmp_path / "table"), samples, path)
    check(path, samples, FeatureTable.open(tmp_path / "table"))


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 11))
def test_any_order_and_any_part_of_the_rows(toy, tmp_path_factory, order, count):
    folder = tmp_path_factory.getbasetemp() / "exported"
    toy.restore(folder / "table", {})
    everything = list(toy.inputs(12).items())
    toy.extract(folder / "table", dict(everything))
    texts = dict([everything[row] for row in order][:count])
    toy.extract(folder / "table", texts)
    samples, table = toy.samples(texts), FeatureTable.open(folder / "table")
    export_table(table, samples, folder / "out.npz", overwrite=True)
    check(folder / "out.npz", samples, table)


@pytest.fixture
def made(toy, tmp_path):
    texts = toy.inputs(2000)
    toy.extract(tmp_path / "table", texts, shard_rows=500)
    return FeatureTable.open(tmp_path / "table"), toy.samples(texts)


def test_a_file_is_replaced_only_when_asked(made, tmp_path):
    path = tmp_path / "out.npz"
    path.write_text("mine")
    with pytest.raises(CacheError, match=r"out\.npz exists.*--force"):
        export_table(*made, path)
    assert path.read_text() == "mine"
    export_table(*made, path, overwrite=True)
    check(path, made[1], made[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_said_and_the_old_file_stays(made, tmp_path, suffix, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # half of a module that is imported meanwhile would stay
    path = tmp_path / f"out{suffix}"
    path.write_text("mine")
    before, sizes = resource.getrlimit(resource.RLIMIT_FSIZE), (100, 20_000, 34_000, 40_000, 50_000)
    for size in sizes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            with pytest.raises(DiskFull, match="no space left"):
                export_table(*made, path, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.read_text() == "mine"
        assert list(tmp_path.glob(".*.tmp")) == []
    export_table(*made, path, overwrite=True)
    check(path, made[1], made[0])


def test_what_can_not_be_exported_leaves_nothing(toy, made, tmp_path):
    table, samples = made
    for path, problem in (
        (tmp_path / "out.csv", r"out\.csv.*\.h5, \.npz, \.parquet"),
        (table.folder / "manifest.json" / "out.h5", r"can't write .*out\.h5"),
    ):
        with pytest.raises(CacheError, match=problem):
            export_table(table, samples, path)
    with pytest.raises(CacheError, match=r"not complete for the samples.*clipfuse extract"):
        export_table(table, toy.samples(toy.inputs(2000) | {"row-3": "edited"}), tmp_path / "out.h5")
    shard = bytearray((table.folder / "shard-000002.h5").read_bytes())
    shard[len(shard) // 2] ^= 1
    (table.folder / "shard-000002.h5").write_bytes(shard)
    with pytest.raises(CacheCorrupt, match=r"shard-000002\.h5"):
        export_table(table, samples, tmp_path / "out.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".table.lock", "table"]


def test_parquet_without_pyarrow_says_what_to_install(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CacheError, match=r"needs pyarrow.*pip install 'clipfuse\[parquet\]'"):
        export_table(*made, tmp_path / "out.parquet")
