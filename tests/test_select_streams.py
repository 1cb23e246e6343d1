"""Which feature tables a fusion reads, and whether they are about the samples of today."""

import numpy as np
import pytest

from clipfuse.errors import CacheMissing, ConfigError, DataError
from clipfuse.select_streams import check_inputs, read_streams, select_streams
from clipfuse_cache import RowsMissing
from clipfuse_cache.imported import ForeignFeatures, import_features


def names(tables):
    return {stream: table.description.name for stream, table in tables.items()}


@pytest.mark.parametrize(
    ("fusion", "streams"),
    [("image", ["image"]), ("text", ["text"]), ("concat", ["image", "text"]), ("sum", ["image", "text"])],
)
def test_a_fusion_gets_what_it_reads(toy, settings, fusion, streams):
    assert list(select_streams(toy.cache, settings(fusion))) == streams


@pytest.mark.parametrize(("has", "lacks", "word"), [("image", "text", "captions"), ("text", "image", "pictures")])
def test_a_modality_that_the_cache_lacks(tmp_path, build_toy, settings, has, lacks, word):
    one = build_toy(tmp_path, rows=40, modalities=(has,))
    assert list(select_streams(one.cache, settings(has))) == [has]
    for fusion in (lacks, "sum"):
        with pytest.raises(CacheMissing, match=rf"no features of {word}, which fusion {fusion} reads.*extract"):
            select_streams(one.cache, settings(fusion))


@pytest.fixture
def several(tmp_path, build_toy, add_features):
    toy = build_toy(tmp_path / "cache", rows=40)
    values = np.random.default_rng(0).normal(size=(40, 5))
    add_features(toy.cache, toy.samples, "image", values, encoder="other")
    add_features(toy.cache, toy.samples, "image", values, encoder="other", output="projected")
    return toy


def test_several_encoders_must_be_told_apart(several, settings):
    with pytest.raises(ConfigError, match=r"several image encoders: other, toy.*--image-encoder other"):
        select_streams(several.cache, settings("concat"))
    assert list(select_streams(several.cache, settings("text"))) == ["text"]
    chosen = select_streams(several.cache, settings("concat", image={"encoder": "toy"}))
    assert names(chosen) == {"image": "toy/image/pooled", "text": "toy/text/pooled"}


def test_several_encoders_of_a_modality_are_several_streams(several, settings):
    chosen = select_streams(several.cache, settings("sum", image={"encoder": ["other", "toy"]}))
    assert names(chosen) == {
        "image": "other/image/projected",
        "image-2": "toy/image/pooled",
        "text": "toy/text/pooled",
    }
    assert list(chosen) == ["image", "image-2", "text"]


@pytest.mark.parametrize(
    ("fusion", "modalities", "streams"),
    [
        ("concat", ["text"], ["text"]),
        ("sum", ["text", "image"], ["text", "image"]),
        ("image", ["text"], ["image"]),
        ("mixed", ["image"], ["image"]),
    ],
)
def test_modalities_that_are_chosen(toy, settings, fusion, modalities, streams):
    assert list(select_streams(toy.cache, settings(fusion, modalities=modalities))) == streams


def test_an_encoder_that_is_not_there(several, settings):
    with pytest.raises(ConfigError, match=r"--image-encoder 'othr' is not in the cache.*Did you mean 'other'"):
        select_streams(several.cache, settings("image", image={"encoder": "othr"}))


def test_outputs(several, settings):
    preferred = select_streams(several.cache, settings("image", image={"encoder": "other"}))
    assert names(preferred) == {"image": "other/image/projected"}
    wanted = select_streams(several.cache, settings("image", image={"encoder": ["other"], "output": "pooled"}))
    assert names(wanted) == {"image": "other/image/pooled"}
    with pytest.raises(ConfigError, match=r"other has no output 'poled'.*Did you mean 'pooled'"):
        select_streams(several.cache, settings("image", image={"encoder": "other", "output": "poled"}))
    with pytest.raises(ConfigError, match=r"--encoder other --tokens 16, or choose another --image-output"):
        select_streams(several.cache, settings("image", image={"encoder": "other", "output": "tokens-16"}))


def test_one_encoder_with_two_settings(tmp_path, build_toy, add_features, settings):
    toy = build_toy(tmp_path / "cache", rows=40)
    add_features(toy.cache, toy.samples, "text", np.ones((40, 8)), storage="float32")
    drops = [f"cache drop {table.description.fingerprint[:12]}" for table in toy.cache.tables()[1:]]
    assert len(drops) == 2
    with pytest.raises(ConfigError, match=r"holds toy/text/pooled more than once.*cache info") as raised:
        select_streams(toy.cache, settings("text"))
    assert "storage: 'float" in raised.value.problem and "weights" not in raised.value.problem
    assert all(drop in raised.value.fix for drop in drops)


def test_an_import_and_an_encoder_of_one_name_are_told_apart(tmp_path, build_toy, add_features, settings):
    toy = build_toy(tmp_path / "cache", rows=40)
    given = ForeignFeatures("features.npy", toy.ids, np.ones((40, 1, 3)), np.ones(40, bool))
    import_features(toy.cache, given, name="two", modality="image")
    add_features(toy.cache, toy.samples, "image", np.ones((40, 8)), encoder="two")
    tables = [table for table in toy.cache.tables() if table.description.encoder_name == "two"]
    with pytest.raises(
        ConfigError, match=r"several image encoders named two, of imported and toy.*--image-output"
    ) as raised:
        select_streams(toy.cache, settings("image", image={"encoder": "two"}))
    assert len(tables) == 2
    assert all(f"cache drop {table.description.fingerprint[:12]}" in raised.value.fix for table in tables)
    for output in ("imported", "pooled"):
        chosen = select_streams(toy.cache, settings("image", image={"encoder": "two", "output": output}))
        assert names(chosen) == {"image": f"two/image/{output}"}


def test_a_suggested_command_can_be_pasted(tmp_path, build_toy, add_features, settings):
    toy = build_toy(tmp_path / "cache", rows=40)
    add_features(toy.cache, toy.samples, "image", np.ones((40, 8)), encoder="a b;c")
    with pytest.raises(ConfigError, match="--image-encoder 'a b;c'"):
        select_streams(toy.cache, settings("image"))


def test_streams_come_in_the_order_of_the_ids(toy, settings):
    tables = select_streams(toy.cache, settings("concat"))
    ids = [toy.ids[row] for row in (7, 3, 150)]
    streams = read_streams(tables, ids)
    for name, table in tables.items():
        expected = table.take(ids)
        assert np.array_equal(streams.values[name].numpy(), expected.values)
        assert np.array_equal(streams.present[name].numpy(), expected.valid)
        assert streams.values[name].shape[0] == 3


class TestCheckInputs:
    def test_unchanged_rows_pass(self, toy, settings):
        check_inputs(select_streams(toy.cache, settings("concat")), toy.samples)

    def test_fewer_rows_than_the_table_has_pass(self, toy, settings, tmp_path, build_toy):
        fewer = build_toy(tmp_path, rows=240, modalities=()).samples
        some = slice(0, 50)
        part = type(fewer)(
            ids=fewer.ids[some],
            captions=fewer.captions[some],
            labels=fewer.labels[some],
            label_names=fewer.label_names,
            tables=fewer.tables,
            table_of=fewer.table_of[some],
            lines=fewer.lines[some],
            image_digests=fewer.image_digests[some],
            image_stamps=fewer.image_stamps[some],
        )
        check_inputs(select_streams(toy.cache, settings("concat")), part)

    def test_another_caption_under_the_same_id(self, tmp_path, build_toy, settings):
        toy = build_toy(tmp_path, rows=40)
        captions = ("another", *toy.samples.captions[1:])
        changed = toy.with_samples(captions=captions)
        with pytest.raises(DataError, match=r"1 rows of .*toy-text.* other inputs, the first is 'row-000'.*extract"):
            check_inputs(select_streams(toy.cache, settings("concat")), changed.samples)
        check_inputs(select_streams(toy.cache, settings("image")), changed.samples)

    def test_rows_that_a_table_does_not_hold(self, tmp_path, build_toy, settings):
        toy = build_toy(tmp_path, rows=40)
        changed = toy.with_samples(ids=("new", *toy.ids[1:]))
        with pytest.raises(RowsMissing, match=r"1 of 40 rows are not in .*, the first is 'new'"):
            check_inputs(select_streams(toy.cache, settings("text")), changed.samples)
