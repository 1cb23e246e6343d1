from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse_cache import CacheCorrupt, CacheError, CacheMissing, FeatureCache, Samples
from clipfuse_cache.fingerprint import NO_DIGEST, input_digest
from clipfuse_cache.samples import read_samples, write_samples

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
layouts = st.dictionaries(words, st.none() | words | st.booleans() | st.integers() | st.lists(words), max_size=3)


@st.composite
def all_samples(draw):
    ids = draw(st.lists(words, max_size=8, unique=True))
    rows = len(ids)
    names = draw(st.none() | st.lists(words, max_size=4))
    columns = draw(st.lists(words, max_size=2))
    return Samples(
        ids=tuple(ids),
        captions=tuple(draw(st.lists(st.none() | st.just("") | words, min_size=rows, max_size=rows))),
        labels=None if names is None else draw(arrays(bool, (rows, len(names)))),
        label_names=tuple(names or ()),
        tables=tuple(draw(st.lists(words, max_size=3))),
        table_of=draw(arrays("uint16", rows)),
        lines=draw(arrays("uint32", rows)),
        image_digests=draw(arrays("uint8", (rows, 16))),
        image_stamps=draw(arrays("uint64", rows)),
        layout=draw(layouts),
        numbers=None if not columns else draw(arrays("float64", (rows, len(columns)))),
        number_names=tuple(columns),
    )


@settings(max_examples=40, deadline=None)
@given(samples=all_samples())
def test_round_trip_is_exact(toy, tmp_path_factory, samples):
    path = tmp_path_factory.getbasetemp() / "samples.h5"
    write_samples(path, samples)
    assert toy.comparable(read_samples(path)) == toy.comparable(samples)


def test_none_is_not_an_empty_caption_and_no_labels_are_not_zero_labels(toy, tmp_path):
    texts = toy.inputs(3)
    bare, none = toy.samples(texts, labels=None), toy.samples(texts, labels=0)
    path = tmp_path / "samples.h5"
    write_samples(path, replace(bare, captions=(None, "", "x")))
    assert read_samples(path).captions == (None, "", "x")
    assert read_samples(path).labels is None
    write_samples(path, none)
    assert read_samples(path).labels.shape == (3, 0)


def test_rows_and_input_digests(toy):
    samples = replace(toy.samples(toy.inputs(5)), captions=("a", None, "", "é", "a"))
    assert samples.rows(["row-3", "row-0", "row-3"]).tolist() == [3, 0, 3]
    with pytest.raises(CacheError, match=r"2 ids .* the first is 'x'.*clipfuse extract"):
        samples.rows(["row-1", "x", "y"])
    text = [input_digest(b"a"), NO_DIGEST, input_digest(b""), input_digest("é".encode()), input_digest(b"a")]
    assert samples.input_digests("text") == text
    assert samples.input_digests("image") == [row.tobytes() for row in samples.image_digests]


def test_parts_that_do_not_fit_are_never_written(toy):
    samples = toy.samples(toy.inputs(5))
    for change in (
        {"ids": ("a",) * 5},
        {"ids": samples.ids[:4]},
        {"captions": samples.captions[:4]},
        {"labels": samples.labels[:, :2]},
        {"labels": None},
        {"label_names": ()},
        {"lines": samples.lines[:4]},
        {"table_of": samples.table_of[:4]},
        {"image_digests": samples.image_digests[:, :15]},
        {"numbers": np.zeros((5, 1))},
        {"number_names": ("n",)},
        {"numbers": np.zeros((5, 1), np.float32), "number_names": ("n",)},
        {"numbers": np.zeros((4, 1)), "number_names": ("n",)},
        {"image_stamps": np.zeros((5, 1), np.uint64)},
    ):
        with pytest.raises(ValueError, match=r"ids|labels|numbers"):
            replace(samples, **change)


def test_equal_samples_are_equal_and_others_are_not(toy, tmp_path):
    samples = replace(toy.samples(toy.inputs(5)), numbers=np.array([[1.0], [np.nan]] * 2 + [[0]]), number_names=("n",))
    write_samples(tmp_path / "samples.h5", replace(samples, layout={"columns": ("a", "b")}))
    found = read_samples(tmp_path / "samples.h5")
    assert found == replace(samples, layout={"columns": ["a", "b"]}) == replace(found, captions=tuple(found.captions))
    for change in (
        {"ids": (*samples.ids[:4], "x")},
        {"captions": (*samples.captions[:4], "x")},
        {"labels": None, "label_names": ()},
        {"labels": ~samples.labels},
        {"lines": samples.lines + np.uint32(1)},
        {"image_stamps": samples.image_stamps + np.uint64(1)},
        {"splits": ("train",) * 5},
        {"numbers": np.zeros((5, 1))},
        {"numbers": None, "number_names": ()},
    ):
        assert replace(found, **change) != found


def test_no_cache_and_a_shard_in_place_of_samples(toy, tmp_path):
    cache = FeatureCache(tmp_path)
    with pytest.raises(CacheMissing, match=r"is not a feature cache.*clipfuse extract"):
        cache.samples()
    toy.extract(tmp_path / "tables" / "one", toy.inputs(4))
    (tmp_path / "samples.h5").write_bytes((tmp_path / "tables" / "one" / "shard-000000.h5").read_bytes())
    with pytest.raises(CacheCorrupt, match=r"samples\.h5: format and version are .*clipfuse extract"):
        cache.samples()
