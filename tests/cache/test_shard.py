from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse_cache import CacheCorrupt, CacheError, Shard, hdf5
from clipfuse_cache.shard import encode_shard, open_shard

PRINT = "0f" * 32
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def shards(draw):
    ids = draw(st.lists(names, min_size=1, max_size=8, unique=True))
    rows, tokens, dim = len(ids), draw(st.sampled_from([1, 3])), draw(st.integers(1, 5))
    width = draw(st.sampled_from([16, 32]))
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)
    values = draw(arrays(f"float{width}", (rows, tokens, dim), elements=finite))
    valid = draw(arrays(bool, rows))
    values[~valid] = 0
    failed = [row for row in range(rows) if not valid[row]]
    failures = draw(st.dictionaries(st.sampled_from(failed), names)) if failed else {}
    some_rows = st.sets(st.integers(0, rows - 1), min_size=1).map(lambda found: tuple(sorted(found)))
    notes = draw(st.dictionaries(names, some_rows, max_size=3))
    return Shard(tuple(ids), draw(arrays("uint8", (rows, 16))), values, valid, failures, notes)


def encode(shard, fingerprint=PRINT, index=3):
    return encode_shard(shard, fingerprint=fingerprint, index=index).data


def decode(data, shard, **changes):
    _, tokens, dim = shard.values.shape
    expected = {"tokens": tokens, "dim": dim, "dtype": str(shard.values.dtype), "fingerprint": PRINT, "index": 3}
    with open_shard(data, "shard.h5", **{**expected, **changes}) as reader:
        return reader.whole()


def same(one, other):
    words = [(x.ids, dict(x.failures), dict(x.notes)) for x in (one, other)]
    return words[0] == words[1] and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in [(one.digests, other.digests), (one.values, other.values), (one.valid, other.valid)]
    )


@pytest.fixture
def shard(toy):
    return toy.make_shard(toy.inputs(9), toy.description())


@settings(max_examples=50, deadline=None)
@given(shards())
def test_round_trip_is_exact_and_equal_shards_give_equal_bytes(shard):
    data = encode(shard)
    assert same(decode(data, shard), shard)
    backwards = {name: dict(reversed(getattr(shard, name).items())) for name in ("failures", "notes")}
    copy = replace(shard, values=shard.values.copy(), **backwards)
    assert encode(copy) == data


@pytest.mark.parametrize("rows", [255, 256, 257, 700])
def test_shards_of_several_chunks(toy, rows):
    shard = toy.make_shard(toy.inputs(rows), toy.description(tokens=3, dim=4, dtype="float32"))
    assert same(decode(encode(shard), shard), shard)


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "1f" * 32},
        {"index": 4},
        {"tokens": 2},
        {"dim": 9},
        {"dtype": "float32"},
        {"sha256": "00" * 32},
    ],
    ids=str,
)
def test_a_shard_of_another_table_or_place_is_refused(shard, change):
    with pytest.raises(CacheCorrupt, match=r"shard.h5"):
        decode(encode(shard), shard, **change)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(shard, bad):
    shard.values[4, 0, 2] = bad
    with pytest.raises(CacheError, match=r"'row-4'.*not finite as float16"):
        encode(shard)


def test_parts_must_fit_each_other_and_ids_be_unique(shard):
    for change in (
        {"ids": shard.ids[:-1]},
        {"ids": (*shard.ids[:-1], shard.ids[0])},
        {"valid": shard.valid[:-1]},
        {"digests": shard.digests[:, :8]},
        {"values": shard.values[:, 0]},
    ):
        with pytest.raises(ValueError, match="digests"):
            replace(shard, **change)
    for change in (
        {"failures": {9: "no such row"}},
        {"failures": {-1: "no such row"}},
        {"notes": {"truncated": (3, 9)}},
        {"notes": {"truncated": (4, 3)}},
        {"notes": {"truncated": (3, 3)}},
        {"notes": {"truncated": ()}},
    ):
        with pytest.raises(ValueError, match="note"):
            replace(shard, **change)


HOSTILE_JSON = (
    b"", b"null", b"7", b"{}x", b"[[0]]", b"[[0, 1]]", b'[["0", "why"]]', b"[[true, \"why\"]]", b'[[0.0, "why"]]',
    b'[[9, "why"]]', b'[[-1, "why"]]', b'[["truncated", [9]]]', b'[["truncated", [true]]]', b'[["truncated", [1, 0]]]',
    b'[["truncated", [0, 0]]]', b'[["truncated", []]]', b'[["truncated", "12"]]', b'[[3, [1]]]', b"[" * 100_000,
    b'[["truncated", [1' + b"0" * 5000 + b"]]]",
)  # fmt: skip


@pytest.mark.parametrize("dataset", ["failures", "notes"])
@pytest.mark.parametrize("text", HOSTILE_JSON, ids=lambda text: repr(text[:24]))
def test_failures_and_notes_that_make_no_sense_are_refused(shard, dataset, text):
    with hdf5.Reader(encode(shard), "shard") as reader:
        shapes = {"ids": "uint8", "id_offsets": "uint64", "valid": "uint8", "failures": "uint8", "notes": "uint8"}
        found = {name: reader.dataset(name, dtype, (None,)) for name, dtype in shapes.items()}
        found |= {"digests": shard.digests, "values": shard.values, dataset: np.frombuffer(text, np.uint8)}
        header = {name: reader.attribute(name) for name in ("format", "version", "fingerprint", "index")}
    assert same(decode(hdf5.build(header, found | {dataset: np.frombuffer(b"[]", np.uint8)}).data, shard),
                replace(shard, **{dataset: {}}))  # fmt: skip
    with pytest.raises(CacheCorrupt, match=r"shard\.h5: (ids, failures or notes|dataset)"):
        decode(hdf5.build(header, found).data, shard)


def test_every_dataset_is_checksummed_and_no_string_has_variable_length(shard):
    import io

    import h5py

    with h5py.File(io.BytesIO(encode(shard)), "r") as file:
        assert sorted(file) == ["digests", "failures", "id_offsets", "ids", "notes", "valid", "values"]
        assert all(file[name].fletcher32 and file[name].dtype.kind in "uf" for name in file)
        assert all(file.attrs.get_id(name).dtype.kind in "iS" for name in file.attrs)


def test_two_files_in_memory_at_once_are_two_files():
    one, other = (hdf5.build({"n": n}, {"x": np.arange(4) * n}).data for n in (1, 10))
    with hdf5.Reader(one, "one") as first, hdf5.Reader(other, "other") as second:
        assert hdf5.build({"n": 1}, {"x": np.arange(4)}).data == one  # while others are open
        assert (first.attribute("n"), second.attribute("n")) == (1, 10)
        assert second.dataset("x", "int64", (None,)).tolist() == [0, 10, 20, 30]
        assert first.dataset("x", "int64", (None,)).tolist() == [0, 1, 2, 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_packed_strings_round_trip(texts):
    assert hdf5.unpack_strings(*hdf5.pack_strings([text.encode() for text in texts])) == texts


@pytest.mark.parametrize(
    ("data", "offsets"),
    [(b"abc", []), (b"abc", [1, 3]), (b"abc", [0, 2]), (b"abc", [0, 4]), (b"abc", [0, 3, 2, 3]), (b"\xff", [0, 1])],
)
def test_offsets_that_do_not_fit_are_refused(data, offsets):
    with pytest.raises(ValueError, match=r"offsets|utf-8"):
        hdf5.unpack_strings(np.frombuffer(data, np.uint8), np.array(offsets, np.uint64))
