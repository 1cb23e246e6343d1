from __future__ import annotations

import h5py
import numpy as np
import pytest

from clipfuse_cache import CacheError, CacheMissing, FeatureCache, FeatureTable
from clipfuse_cache import imported as imported_module
from clipfuse_cache.export import export_table
from clipfuse_cache.fingerprint import NO_DIGEST
from clipfuse_cache.imported import NOT_THERE, import_features, read_foreign


@pytest.fixture
def texts(toy):
    return toy.inputs(20)


@pytest.fixture
def cache(toy, tmp_path, texts):
    made = FeatureCache(tmp_path / "features")
    made.write_samples(toy.samples(texts))
    return made


def numbers(rows, *shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype(dtype)


def save(folder, values, ids, end="\n", encoding="utf-8"):
    np.save(folder / "features.npy", values)
    (folder / "ids.txt").write_bytes((end.join(ids) + end).encode(encoding))
    return read_foreign(folder / "features.npy", folder / "ids.txt")


def put(cache, given, name="other", modality="text", **how):
    return import_features(cache, given, name=name, modality=modality, **how)


@pytest.mark.parametrize("shape", [(5,), (3, 5)], ids=["vectors", "tokens"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int8", "fortran"])
def test_values_come_back_by_id_in_any_order(cache, texts, tmp_path, monkeypatch, shape, dtype):
    monkeypatch.setattr(imported_module, "_BLOCK_BYTES", 100)  # several blocks
    values = numbers(20, *shape, dtype="float32" if dtype == "fortran" else dtype)
    values = np.asfortranarray(values) if dtype == "fortran" else values
    ids = list(reversed(texts))
    table = put(cache, save(tmp_path, values, ids), storage="float32", shard_rows=6)
    found = table.take(ids)
    assert found.valid.all()
    assert np.array_equal(found.values, values.reshape(20, -1, 5).astype("float32"))
    about = table.description
    assert (about.name, about.encoder_name, about.modality) == ("other/text/imported", "other", "text")
    assert (about.tokens, about.dim, about.dtype) == ((1, 3)[len(shape) - 1], 5, "float32")
    assert cache.table(about).folder == table.folder
    # the row without an input has the features that were given for it, and all inputs are the samples' own
    assert table.input_digests() == dict(zip(texts, cache.samples().input_digests("text"), strict=True))
    assert NO_DIGEST in table.input_digests().values()
    assert table.failures() == {}


def test_rows_that_the_file_lacks_are_masked_and_failed_where_they_have_an_input(cache, texts, tmp_path):
    ids = list(texts)[:8]
    table = put(cache, save(tmp_path, numbers(8, 4), ids))
    found = table.take(list(texts))
    assert found.valid.tolist() == [True] * 8 + [False] * 12
    assert not found.values[8:].any()
    assert table.failures() == dict.fromkeys([name for name in list(texts)[8:] if texts[name]], NOT_THERE)


def test_the_same_file_again_is_the_same_table_and_other_numbers_are_another(cache, texts, tmp_path):
    values, ids = numbers(20, 4), list(texts)
    first = put(cache, save(tmp_path, values, ids))
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    assert put(cache, save(tmp_path, values, ids)).folder == first.folder
    assert {path: path.read_bytes() for path in first.folder.iterdir()} == before
    changed = values.copy()
    changed[19, 3] = np.nextafter(changed[19, 3], 9)
    others = [
        put(cache, save(tmp_path, changed, ids)),
        put(cache, save(tmp_path, values, [*ids[1:], ids[0]])),
        put(cache, save(tmp_path, values[:-1], ids[:-1])),
        put(cache, save(tmp_path, values, ids), name="third"),
        put(cache, save(tmp_path, values, ids), modality="image"),
        put(cache, save(tmp_path, values, ids), storage="float32"),
    ]
    masked = save(tmp_path, values, ids)
    masked.valid[2] = False
    others.append(put(cache, masked))
    assert len({table.folder for table in (first, *others)}) == 8
    assert len(cache.tables()) == 8


def test_grown_samples_and_the_file_again(toy, cache, texts, tmp_path):
    given = save(tmp_path, numbers(20, 4), list(texts))
    put(cache, given)
    cache.write_samples(toy.samples(texts | {"new": "row", "row-1": "edited"}))
    table = put(cache, given)
    assert [entry.rows for entry in table.manifest.shards] == [20, 2]
    assert table.failures() == {"new": NOT_THERE}
    assert table.take(["row-1", "new"]).valid.tolist() == [True, False]


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_what_was_exported_can_be_imported(toy, cache, texts, tmp_path, suffix):
    toy.extract(tmp_path / "table", texts, toy.description(tokens=2, dim=4))
    table = FeatureTable.open(tmp_path / "table")
    export_table(table, cache.samples(), tmp_path / f"out{suffix}")
    again = put(cache, read_foreign(tmp_path / f"out{suffix}"))
    for one, other in zip(table.take(list(texts)), again.take(list(texts)), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (lambda ids: [*ids[:-2], "who", "what"], r"2 ids are not in the cache's samples, the first is 'who'"),
        (lambda ids: [*ids[:-1], ids[3]], r"1 ids of features\.npy come more than once, the first is 'row-3'"),
        (lambda ids: ids[:-1], r"19 ids in .*ids\.txt, and 20 rows in .*features\.npy"),
        (lambda ids: [*ids, "one more"], r"21 ids in .*ids\.txt, and 20 rows"),
        (lambda ids: [*ids[:5], "", *ids[6:]], r"1 ids are not in the cache's samples, the first is ''"),
    ],
)
def test_ids_that_do_not_fit(cache, texts, tmp_path, ids, problem):
    with pytest.raises(CacheError, match=problem):
        put(cache, save(tmp_path, numbers(20, 4), ids(list(texts))))
    assert cache.tables() == []


@pytest.mark.parametrize(("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8"), ("\n", "utf-8-sig")])
def test_lines_of_ids(toy, tmp_path, end, encoding):
    ids = ["a", " b ", "ü\u2028x", "\x0bc", "d"]
    assert save(tmp_path, numbers(5, 2), ids, end, encoding).ids == tuple(ids)
    (tmp_path / "ids.txt").write_bytes(end.join(ids).encode(encoding))  # no line end after the last
    assert read_foreign(tmp_path / "features.npy", tmp_path / "ids.txt").ids == tuple(ids)


@pytest.mark.parametrize(
    ("bad", "storage", "problem"),
    [
        (np.nan, "float32", r"'row-7' \(row 7\) are not finite"),
        (-np.inf, "float16", r"'row-7' \(row 7\) are not finite"),
        (7e4, "float16", r"'row-7' \(row 7\) are too large for float16.*--storage float32"),
        (1e300, "float32", r"'row-7' \(row 7\) are too large for float32$"),
    ],
)
def test_numbers_that_can_not_be_kept(cache, texts, tmp_path, monkeypatch, bad, storage, problem):
    monkeypatch.setattr(imported_module, "_BLOCK_BYTES", 100)
    values = numbers(20, 4, dtype="float64")
    values[7, 2] = bad
    given = save(tmp_path, values, list(texts))
    with pytest.raises(CacheError, match=problem):
        put(cache, given, storage=storage)
    assert cache.tables() == []
    given.valid[7] = False  # as in a file of ours: what is not valid is not looked at
    assert put(cache, given, storage=storage).take(["row-7"]).valid.tolist() == [False]


def test_names(toy, cache, texts, tmp_path):
    toy.extract(cache.root / "tables" / "toy", texts)
    given = save(tmp_path, numbers(20, 4), list(texts))
    with pytest.raises(CacheError, match=r"an encoder 'toy' for text already.*--name"):
        put(cache, given, name="toy")
    with pytest.raises(CacheError, match="--name"):
        put(cache, given, name=" ")
    put(cache, given, name="toy", modality="image")


def test_files_that_can_not_be_read(tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("a\nb\n")
    for name, write, problem in (
        ("pickled.npy", lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True), "not an array"),
        ("strings.npy", lambda path: np.save(path, np.array(["a", "b"])), "holds <U1"),
        ("complex.npy", lambda path: np.save(path, np.zeros((2, 3), complex)), "complex128"),
        ("flat.npy", lambda path: np.save(path, np.zeros(2)), r"\(2,\), expected numbers"),
        ("deep.npy", lambda path: np.save(path, np.zeros((2, 1, 1, 1))), r"\(2, 1, 1, 1\), expected numbers"),
        ("narrow.npy", lambda path: np.save(path, np.zeros((2, 0))), "nothing in them"),
        ("cut.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01"), "not an array"),
        ("empty.npy", lambda path: path.write_bytes(b""), "not an array"),
        ("text.npz", lambda path: path.write_text("no zip"), "not an array"),
        ("other.npz", lambda path: np.savez(path, x=np.zeros(3)), "not an array"),
        ("text.h5", lambda path: path.write_text("no hdf5"), "can't read"),
        ("other.h5", lambda path: h5py.File(path, "w").close(), "no dataset 'features'"),
        ("features.csv", lambda path: path.write_text("1,2"), r"neither .npy nor .npz nor .h5.*numpy\.save"),
    ):
        write(tmp_path / name)
        with pytest.raises(CacheError, match=problem):
            read_foreign(tmp_path / name, ids if name.endswith((".npy", ".csv")) else None)
    np.save(tmp_path / "right.npy", np.zeros((2, 3)))
    with pytest.raises(CacheError, match=r"--ids"):
        read_foreign(tmp_path / "right.npy")
    with pytest.raises(CacheError, match=r"Leave --ids out"):
        read_foreign(tmp_path / "other.npz", ids)
    for given in ((tmp_path / "none.npy", ids), (tmp_path / "right.npy", tmp_path / "none.txt")):
        with pytest.raises(CacheError, match=r"can't read .*none"):
            read_foreign(*given)
    ids.write_bytes(b"\xff\n\xfe\n")
    with pytest.raises(CacheError, match=r"ids\.txt is not UTF-8"):
        read_foreign(tmp_path / "right.npy", ids)


def test_hdf5_that_reaches_outside_of_itself_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    for reach in ("external", "soft", "virtual"):
        path = tmp_path / f"{reach}.h5"
        with h5py.File(path, "w") as file:
            file["ids"] = np.array(["a", "b"], dtype=h5py.string_dtype())
            file["valid"] = np.ones(2, bool)
            if reach == "external":
                file.create_dataset("features", (2, 4), "f4", external=[(str(tmp_path / "secret"), 0, 32)])
            elif reach == "soft":
                file["features"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/features")
            else:
                layout = h5py.VirtualLayout((2, 4), "f4")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "features", (2, 4))
                file.create_virtual_dataset("features", layout)
        with pytest.raises(CacheError, match="not an array of numbers"):
            read_foreign(path)


def test_no_cache(tmp_path):
    with pytest.raises(CacheMissing, match=r"is not a feature cache.*clipfuse extract"):
        put(FeatureCache(tmp_path / "none"), save(tmp_path, numbers(2, 2), "ab"))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[2J", "tab\t", "\ud800"])
def test_a_name_must_be_there_and_printable(cache, texts, tmp_path, name):
    given = save(tmp_path, numbers(20, 5), texts)
    with pytest.raises(CacheError, match=r"need a name|can't be printed") as raised:
        put(cache, given, name=name)
    assert str(raised.value).isprintable() and cache.tables() == []
    put(cache, given, name="Bäume 木")
