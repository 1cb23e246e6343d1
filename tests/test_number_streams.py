"""Columns of numbers as a modality: which are read, how they are scaled, and predicting with them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipfuse import run_features
from clipfuse.config import SplitConfig
from clipfuse.data import load_dataset
from clipfuse.errors import ConfigError, TableError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.labelled_rows import load_rows
from clipfuse.predict import like_training_table, predict
from clipfuse.run import open_run
from clipfuse.select_streams import select_streams
from clipfuse.splits import find_split
from clipfuse.streams import Streams
from clipfuse.table_streams import TableStreams
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse.train_config import TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import CacheMissing, FeatureCache

ROWS = 80
FACTORY = FakeFactory()
OPTIONS = ExtractOptions(shard_rows=50, batch_size=16, threads=1)
MODALITIES = ("image", "text", "numbers")


def config(fusion="concat", **others):
    fit = {"epochs": 8, "learning_rate": 0.1, "precision": "float32"}
    given = {"fusion": {"kind": fusion}, "head": {"kind": "linear"}, "fit": fit, "modalities": MODALITIES}
    return TrainConfig.model_validate({**given, **others})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """80 rows; "price" tells the one label from afar, "age" says nothing; cells are missing, and both in row 5."""
    rng = np.random.default_rng(0)
    numbers = np.stack([2e6 + 3e4 * (np.arange(ROWS) % 2 == 0), rng.normal(size=ROWS)], axis=1)
    numbers[::9, 1] = np.nan
    numbers[5] = np.nan
    images = MemoryImages({f"p{n}": small_png(n) for n in range(ROWS)})
    plain = fake_dataset(images, {f"p{n}": f"caption {n}" for n in range(ROWS)})
    dataset = replace(plain, numbers=numbers, number_names=("price", "age"))
    cache = FeatureCache(tmp_path_factory.mktemp("numbers") / "cache")
    extract([FACTORY], dataset, cache, OPTIONS)
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    return SimpleNamespace(cache=cache, dataset=dataset, samples=samples, split=split, plain=plain)


@pytest.fixture
def train(data, tmp_path, monkeypatch):
    """``train(config)`` -> Run."""
    monkeypatch.setattr(run_features, "find_encoder", lambda name, **_: FACTORY)
    return lambda chosen: train_head(data.cache, data.samples, data.split, chosen, runs=tmp_path)


def of_dataset(run, dataset):
    """What the run said of these rows."""
    kept = run.predictions()
    place = {name: row for row, name in enumerate(kept.ids)}
    return kept.probabilities[[place[name] for name in dataset.ids]]


class TestSelection:
    @pytest.mark.parametrize(
        ("fusion", "modalities", "columns"),
        [
            ("numbers", ("image", "text"), ("price", "age")),
            ("concat", MODALITIES, ("price", "age")),
            ("concat", ("numbers", "text"), ("price", "age")),
            ("concat", ("image", "text"), ()),
            ("image", MODALITIES, ()),
        ],
    )
    def test_columns_are_read_where_the_fusion_reads_them(self, data, fusion, modalities, columns):
        assert select_streams(data.cache, config(fusion, modalities=modalities)).own.numbers == columns

    def test_a_table_without_any(self, data, tmp_path):
        bare = FeatureCache(tmp_path / "bare")
        extract([FACTORY], data.plain, bare, OPTIONS)
        with pytest.raises(CacheMissing, match=r"holds no numbers, which fusion sum.*--number-column NAME"):
            select_streams(bare, config("sum"))

    def test_without_a_number_in_a_role_nothing_can_be_said(self, data, tmp_path):
        samples = replace(data.samples, numbers=np.full((ROWS, 2), np.nan))
        with pytest.raises(ConfigError, match=r"not one of the .* train rows has a number"):
            train_head(data.cache, samples, data.split, config("numbers"), runs=tmp_path)


class TestStream:
    def test_it_is_a_token_of_all_columns_in_the_order_asked_for(self):
        plain = Streams(
            {"text": torch.zeros(3, 1, 2)}, {"text": torch.ones(3).bool()}, {"text": (torch.ones(3, 1, 2),)}
        )
        table = np.array([[1.0, np.nan, 3.0], [np.nan, 5.0, np.nan], [7.0, 1e300, -1e300]])
        rows = SimpleNamespace(number_names=("a", "b", "c"), numbers=table)
        found = plain.beside(TableStreams(("c", "a")).read(rows, "cpu"))
        assert list(found.values) == ["text", "numbers"] and found.views == plain.views
        assert found.values["numbers"].dtype == torch.float32
        assert found.values["numbers"][0].tolist() == [[3.0, 1.0]]
        assert found.present["numbers"].tolist() == [True, False, True]
        assert found.values["numbers"][2].tolist() == [[pytest.approx(-1e30), 7.0]]
        assert TableStreams(("a",)).read(rows, "cpu", [2]).values["numbers"].tolist() == [[[7.0]]]
        assert not TableStreams().read(rows, "cpu").values

    def test_rows_of_a_split_have_their_own_numbers(self, data):
        rows = load_rows(select_streams(data.cache, config()), data.samples, data.split, "cpu")
        expected = data.dataset.numbers[[data.dataset.ids.index(name) for name in rows.ids]]
        np.testing.assert_allclose(rows.rows.streams.values["numbers"][:, 0].numpy(), expected, rtol=1e-6)
        assert list(rows.rows.streams.values) == ["image", "text", "numbers"]


@pytest.mark.parametrize("scale", [True, False])
def test_they_are_standardised_whatever_their_units(train, scale):
    run = train(config("numbers", scale=scale))
    assert run.metrics["scores"]["test"]["scores"]["micro_f1"] > 0.95
    scaler = run.predictor().model.inputs.scaler("numbers")
    assert scaler.mean[0].item() == pytest.approx(2.015e6, rel=2e-3)
    assert 1 / scaler.scale[0].item() == pytest.approx(1.5e4, rel=0.05)


def test_a_missing_cell_counts_as_the_mean(data, train):
    run = train(config("numbers"))
    means = run.predictor().model.inputs.scaler("numbers").mean.double().numpy()
    holes = data.dataset.numbers.copy()
    holes[:, 1] = np.nan
    filled = holes.copy()
    filled[:, 1] = means[1]
    said = [predict(run, replace(data.dataset, numbers=each), options=OPTIONS) for each in (holes, filled)]
    given = np.isfinite(data.dataset.numbers[:, 0])
    np.testing.assert_allclose(said[0].probabilities[given], said[1].probabilities[given], atol=1e-5)
    assert said[0].without_input.tolist() == (~given).tolist()


def test_a_column_that_no_training_row_has_says_nothing(data, train, tmp_path):
    numbers = data.dataset.numbers.copy()
    test = [data.dataset.ids.index(name) for name in data.split.roles["test"]]
    numbers[:, 1] = np.nan
    numbers[test, 1] = 1e9
    samples = replace(data.samples, numbers=numbers)
    run = train_head(data.cache, samples, data.split, config("numbers"), runs=tmp_path / "other")
    assert run.metrics["scores"]["test"]["scores"]["micro_f1"] > 0.95


class TestPredicting:
    @pytest.mark.parametrize("fusion", ["numbers", "concat", "sum"])
    def test_a_table_and_a_cache_give_what_training_gave(self, data, train, fusion):
        run = train(config(fusion))
        assert run.own.numbers == ("price", "age")
        for cache in (None, data.cache):
            found = predict(run, data.dataset, cache=cache, options=OPTIONS)
            np.testing.assert_allclose(found.probabilities, of_dataset(run, data.dataset), atol=1e-5)

    def test_an_estimator(self, data, train):
        run = train(config(head={"kind": "knn", "n_neighbors": 3}))
        found = predict(run, data.dataset, cache=data.cache, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities, of_dataset(run, data.dataset), atol=1e-5)

    def test_columns_are_found_by_name(self, data, train):
        run = train(config("numbers"))
        turned = np.column_stack([data.dataset.numbers[:, 1], np.zeros(ROWS), data.dataset.numbers[:, 0]])
        other = replace(data.dataset, numbers=turned, number_names=("age", "more", "price"))
        found = predict(run, other, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities, of_dataset(run, data.dataset), atol=1e-5)

    def test_a_column_that_is_missing_is_named(self, data, train):
        run = train(config("numbers"))
        other = replace(data.dataset, numbers=data.dataset.numbers[:, :1], number_names=("price",))
        for cache in (None, data.cache):
            with pytest.raises(TableError, match=r"reads column 'age', which the table does not have.*may be empty"):
                predict(run, other, cache=cache, options=OPTIONS)
        with pytest.raises(TableError, match="columns 'price', 'age'"):
            predict(run, data.plain, options=OPTIONS)

    def test_a_table_is_read_for_the_columns_of_the_run(self, train, tmp_path):
        path = tmp_path / "new.csv"
        path.write_text("id,caption,age,price,weight\np1,a dog,3,,7\np2,a cat,x,2e6,8\n")
        table = like_training_table(train(config("numbers")), path, None, {})
        assert table.number_columns == ("price", "age")
        dataset = load_dataset(table)
        np.testing.assert_array_equal(dataset.numbers, [[np.nan, 3], [2e6, np.nan]])
        assert like_training_table(train(config("text")), path, None, {}).number_columns is None

    def test_a_run_that_reads_none_needs_none(self, data, train):
        run = train(config("image"))
        assert run.own.numbers == ()
        assert predict(run, data.plain, options=OPTIONS).probabilities.shape == (ROWS, 1)


def test_the_run_says_which_and_what_they_are_worth(train):
    run = open_run(train(config("sum")).path)
    assert run.dims == {"image": 6, "text": 6, "numbers": 2}
    assert set(run.metrics["modalities"]) >= {"image only", "text only", "numbers only"}
    assert sum(run.metrics["missing"]["numbers"].values()) == 1
    assert run.metrics["modalities"]["numbers only"]["scores"]["micro_f1"] > 0.9
