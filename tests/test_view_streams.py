"""Several encoders a modality, and views: which tables are read, what training draws, what is averaged."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from clipfuse import run_features
from clipfuse.bench import bench_row
from clipfuse.config import SplitConfig
from clipfuse.errors import ConfigError, DataError, FingerprintMismatch, UnknownName
from clipfuse.extract import ExtractOptions, extract
from clipfuse.labelled_rows import load_rows
from clipfuse.modality import input_word
from clipfuse.predict import predict
from clipfuse.run import open_run
from clipfuse.select_streams import check_inputs, read_streams, select_streams
from clipfuse.splits import find_split
from clipfuse.streams import Streams
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset
from clipfuse.train_config import TrainConfig
from clipfuse.train_head import train_head
from clipfuse.training import fit as fit_module
from clipfuse.views import find_view, parse_views
from clipfuse_cache import CacheMissing, FeatureCache

ROWS = 60
FACTORIES = {
    "one": FakeFactory("one", dim=6),
    "two": FakeFactory("two", dim=4, modalities=("image",)),
    "words": FakeFactory("words", dim=5, modalities=("text",)),
}
VIEWS = ("flip", "crops:2", "word-dropout:0.5")
OPTIONS = ExtractOptions(shard_rows=32, batch_size=16, threads=1)
BOTH = {"encoder": ("one", "two")}
EVERYTHING = {"image": {**BOTH, "views": ("flip", "crops:2")}, "text": {"encoder": "words", "views": ("all",)}}


def small(fusion="concat", **others):
    fit = {"epochs": 2, "precision": "float32"}
    return TrainConfig.model_validate({"fusion": {"kind": fusion}, "head": {"kind": "linear"}, "fit": fit, **others})


def noise(number):
    """A picture's file, of which every view is another picture."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 pictures with captions, three fake encoders, and views of all of them."""
    images = MemoryImages({f"p{n}": noise(n) for n in range(ROWS)})
    captions = {f"p{n}": None if n == 7 else f"caption of a p{n}" for n in range(ROWS)}
    dataset = fake_dataset(images, captions)
    cache = FeatureCache(tmp_path_factory.mktemp("views") / "cache")
    extract(list(FACTORIES.values()), dataset, cache, replace(OPTIONS, views=parse_views(VIEWS)))
    samples = cache.samples()
    return SimpleNamespace(
        cache=cache, dataset=dataset, samples=samples, split=find_split(cache, samples, SplitConfig(), None)
    )


@pytest.fixture
def train(data, tmp_path):
    """``train(config)`` -> Run."""
    return lambda config: train_head(data.cache, data.samples, data.split, config, runs=tmp_path)


@pytest.fixture
def encoders(monkeypatch):
    """What predict finds of these names; put others in to break something."""
    known = dict(FACTORIES)
    monkeypatch.setattr(run_features, "find_encoder", lambda name, **_: known[name])
    return known


def views_of(tables):
    return {stream: [table.description.view for table in views] for stream, views in tables.views.items()}


class TestSelection:
    def test_one_table_for_each_view_that_is_named(self, data):
        config = small(image={"encoder": "one", "views": ("crops:2", "flip")}, text={"encoder": "words"})
        tables = select_streams(data.cache, config)
        assert list(tables) == ["image", "text"]
        assert views_of(tables) == {"image": ["crop-1", "crop-2", "flip"]}
        assert {table.description.encoder_name for table in tables.views["image"]} == {"one"}
        crop = small("image", image={"encoder": "one", "views": ("crop-2",)})
        assert views_of(select_streams(data.cache, crop)) == {"image": ["crop-2"]}

    def test_all_that_there_are(self, data):
        config = small(image={**BOTH, "views": ("all",)}, text={"encoder": "words", "views": ("all",)})
        tables = select_streams(data.cache, config)
        assert list(tables) == ["image", "image-2", "text"]
        found = views_of(tables)
        assert sorted(found["image"]) == ["crop-1", "crop-2", "flip"]
        assert found["image"] == found["image-2"]
        assert found["text"] == ["word-dropout-0.5"]
        assert {table.description.encoder_name for table in tables.views["image-2"]} == {"two"}

    def test_a_view_that_is_not_there(self, data, tmp_path):
        config = small("image", image={"encoder": "one", "views": ("rotate:10",)})
        with pytest.raises(CacheMissing, match=r"no view rotate-10 of one/image/.*extract --encoder one.*rotate:10"):
            select_streams(data.cache, config)
        with pytest.raises(UnknownName, match="flop"):
            select_streams(data.cache, small("image", image={"encoder": "one", "views": ("flop",)}))
        with pytest.raises(ConfigError, match=r"view flip changes pictures, not captions.*--image-view flip"):
            select_streams(data.cache, small("text", text={"encoder": "one", "views": ("flip",)}))
        bare = FeatureCache(tmp_path / "bare")
        extract([FACTORIES["one"]], data.dataset, bare, OPTIONS)
        with pytest.raises(CacheMissing, match="no views of one/image/projected"):
            select_streams(bare, small("image", image={"views": ("all",)}))

    def test_every_encoder_of_a_modality_must_have_it(self, data, tmp_path):
        cache = FeatureCache(tmp_path / "cache")
        extract([FACTORIES["one"]], data.dataset, cache, replace(OPTIONS, views=parse_views(["flip"])))
        extract([FACTORIES["two"]], data.dataset, cache, OPTIONS)
        for views in ("flip", "all"):
            with pytest.raises(CacheMissing, match=r"no view flip of two/image/projected.*--encoder two"):
                select_streams(cache, small("image", image={**BOTH, "views": (views,)}))

    def test_an_encoder_that_is_named_twice(self, data):
        with pytest.raises(ConfigError, match=r"'one' is one/image/projected, which is named already"):
            select_streams(data.cache, small("image", image={"encoder": ("one", "one")}))

    def test_averaging_needs_some(self, data):
        with pytest.raises(ConfigError, match=r"no views to average over.*--image-view flip"):
            select_streams(data.cache, small("image", image={"encoder": "one"}, average_views=True))

    def test_pictures_that_changed_since_a_view_was_made(self, data, tmp_path):
        cache = FeatureCache(tmp_path / "cache")
        extract([FACTORIES["one"]], data.dataset, cache, replace(OPTIONS, views=parse_views(["flip"])))
        captions = dict(zip(data.dataset.ids, data.dataset.captions, strict=True))
        changed = MemoryImages({name: noise(number + 100) for number, name in enumerate(captions)})
        changed.times = dict.fromkeys(captions, 1)
        extract([FACTORIES["one"]], fake_dataset(changed, captions), cache, OPTIONS)
        check_inputs(select_streams(cache, small("image")), cache.samples())
        with pytest.raises(DataError, match=r"60 rows of .*flip.* other inputs.*extract with its view, flip"):
            check_inputs(select_streams(cache, small("image", image={"views": ("flip",)})), cache.samples())

    def test_an_estimator_draws_none(self, train):
        config = small("image", image={"encoder": "one", "views": ("flip",)})
        with pytest.raises(ConfigError, match="head knn draws no views"):
            train(config.model_copy(update={"head": config.head.model_copy(update={"kind": "knn"})}))


class TestRows:
    def test_views_stand_beside_the_inputs_as_they_are(self, data):
        config = small(image={**BOTH, "views": ("flip", "crops:2")}, text={"encoder": "words", "views": ("all",)})
        tables = select_streams(data.cache, config)
        rows = load_rows(tables, data.samples, data.split, "cpu")
        streams = rows.rows.streams
        assert streams.versions == 4
        for name, views in tables.views.items():
            for found, table in zip(streams.views[name], views, strict=True):
                expected = table.take(rows.ids)
                assert np.array_equal(found.numpy()[expected.valid], expected.values[expected.valid])
                assert not np.array_equal(found.numpy(), streams.values[name].numpy())

    def test_a_row_without_a_view_has_the_input_as_it_is(self, data, tmp_path):
        dropped = parse_views(["word-dropout:0.5"])[0]
        row = data.dataset.ids.index("p3")
        gone = dropped.apply(data.dataset.captions[row], data.samples.input_digests("text")[row])
        assert gone != data.dataset.captions[row]
        factory = FakeFactory("words", modalities=("text",), refuses=lambda caption: caption == gone)
        cache = FeatureCache(tmp_path / "cache")
        extract([factory], data.dataset, cache, replace(OPTIONS, views=(dropped,)))
        tables = select_streams(cache, small("text", text={"views": ("all",)}))
        streams = read_streams(tables, data.dataset.ids)
        same = [torch.equal(a, b) for a, b in zip(streams.values["text"], streams.views["text"][0], strict=True)]
        assert same[row] and sum(same) < ROWS / 2
        assert streams.present["text"][row] and streams.values["text"][row].abs().sum() > 0

    def test_training_rows_draw_them_and_others_do_not(self, data, train, monkeypatch):
        drawn, looked = [], []
        streams = Streams
        original = streams.drawn

        def draw(self, index, generator):
            found = original(self, index, generator)
            drawn.extend((name, row) for name, value in found.values.items() for row in value[0])
            return found

        def validate(model, rows, positions, original=fit_module.validate):
            looked.append(positions)
            return original(model, rows, positions)

        monkeypatch.setattr(streams, "drawn", draw)
        monkeypatch.setattr(fit_module, "validate", validate)
        config = small("image", image={**BOTH, "views": ("flip", "crops:2")})
        train(config)
        rows = load_rows(select_streams(data.cache, config), data.samples, data.split, "cpu")
        found = rows.rows.streams
        training = set(rows.index["train"].tolist())
        versions = set()
        by_stream = {name: [row for stream, row in drawn if stream == name] for name in ("image", "image-2")}
        for first, second in zip(by_stream["image"], by_stream["image-2"], strict=True):
            places = []
            for name, seen in (("image", first), ("image-2", second)):
                options = torch.stack([found.values[name], *found.views[name]])
                places.append({tuple(place) for place in (options == seen).flatten(2).all(-1).nonzero().tolist()})
            assert places[0] & places[1], "both encoders saw the same view of the same row"
            version, row = min(places[0] & places[1])
            versions.add(version)
            assert row in training
        assert versions == {0, 1, 2, 3}
        assert len(looked) == 2 and all(torch.equal(each, rows.index["validation"]) for each in looked)


class TestAveraging:
    @pytest.mark.parametrize("head", ["linear", "knn"])
    def test_probabilities_are_the_mean_over_the_views(self, data, train, head):
        settings = {"kind": head, **({"n_neighbors": 3} if head == "knn" else {})}
        run = train(small(**EVERYTHING, average_views=True, head=settings))
        rows = load_rows(select_streams(data.cache, run.config), data.samples, data.split, "cpu")
        streams, predictor = rows.rows.streams, run.predictor()
        each = [predictor.inner.probabilities(streams.view(number)) for number in range(4)]
        assert not np.allclose(each[0], each[1])
        found = run.predictions()
        np.testing.assert_allclose(found.probabilities, np.mean(each, axis=0), atol=1e-5)

    def test_without_it_predictions_are_of_the_inputs_as_they_are(self, data, train):
        run = train(small(**EVERYTHING))
        rows = load_rows(select_streams(data.cache, run.config), data.samples, data.split, "cpu")
        plain = run.predictor().probabilities(rows.rows.streams.without_views())
        np.testing.assert_allclose(run.predictions().probabilities, plain, atol=1e-5)

    def test_new_pictures_and_a_cache_give_the_same(self, data, train, encoders):
        run = train(small(**EVERYTHING, average_views=True))
        kept = run.predictions()
        place = {name: row for row, name in enumerate(kept.ids)}
        expected = kept.probabilities[[place[name] for name in data.dataset.ids]]
        encoded = sum(len(factory.prepared) for factory in FACTORIES.values())
        from_cache = predict(run, data.dataset, cache=data.cache, options=OPTIONS)
        assert sum(len(factory.prepared) for factory in FACTORIES.values()) == encoded
        from_pictures = predict(run, data.dataset, options=OPTIONS)
        np.testing.assert_allclose(from_cache.probabilities, expected, atol=1e-5)
        np.testing.assert_allclose(from_pictures.probabilities, expected, atol=1e-5)

    def test_a_run_that_does_not_average_encodes_no_views(self, data, train, encoders):
        run = train(small(**EVERYTHING))
        before = len(FACTORIES["two"].prepared)
        predict(run, data.dataset, options=OPTIONS)
        assert len(FACTORIES["two"].prepared) == before + ROWS

    def test_captions_only(self, data, train, encoders):
        run = train(small(**EVERYTHING, average_views=True))
        blind = replace(data.dataset, images=(None,) * ROWS)
        found = predict(run, blind, options=OPTIONS)
        assert np.isfinite(found.probabilities).all()
        assert found.without_input.tolist() == [caption is None for caption in data.dataset.captions]
        # the same as beside a row that has a picture: what is said of a row is not a matter of the others
        one = replace(blind, images=(*blind.images[:-1], data.dataset.images[-1]))
        beside = predict(run, one, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities[:-1], beside.probabilities[:-1], atol=1e-6)

    def test_a_cache_without_the_views(self, data, train, tmp_path):
        run = train(small(**EVERYTHING, average_views=True))
        bare = FeatureCache(tmp_path / "bare")
        extract(list(FACTORIES.values()), data.dataset, bare, OPTIONS)
        with pytest.raises(CacheMissing, match="holds no one/image/projected@"):
            predict(run, data.dataset, cache=bare, options=OPTIONS)

    def test_the_run_keeps_what_its_views_are(self, train):
        run = open_run(train(small(**EVERYTHING, average_views=True)).path)
        assert [view.view for view in run.views["image-2"]] == ["flip", "crop-1", "crop-2"]
        assert {view.encoder_name for view in run.views["image-2"]} == {"two"}


class TestSeveralEncoders:
    def test_each_stream_finds_its_own(self, data, train, encoders):
        for fusion in ("concat", "sum", "gated"):
            run = train(small(fusion, image=BOTH, text={"encoder": "words"}))
            assert run.dims == {"image": 6, "image-2": 4, "text": 5}
            kept = run.predictions()
            place = {name: row for row, name in enumerate(kept.ids)}
            expected = kept.probabilities[[place[name] for name in data.dataset.ids]]
            for cache in (None, data.cache):
                found = predict(run, data.dataset, cache=cache, options=OPTIONS)
                np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)

    def test_files_that_have_moved(self, data, train, encoders):
        run = train(small("image", image=BOTH))
        encoders["elsewhere"] = encoders.pop("two")
        found = predict(run, data.dataset, encoders={"image-2": "elsewhere"}, options=OPTIONS)
        assert found.probabilities.shape == (ROWS, 1)
        with pytest.raises(FingerprintMismatch, match=r"encoder two is not the one.*--image-encoder"):
            predict(run, data.dataset, encoders={"image": "elsewhere", "image-2": "elsewhere"}, options=OPTIONS)

    def test_the_table_of_runs(self, train):
        run = train(small("image", image=BOTH))
        row = bench_row(run)
        assert row.encoders == {"image": "one/projected", "image-2": "two/projected"}
        assert row.encoder_bytes == run.encoder_bytes == 2

    def test_what_is_missing_is_said_by_modality(self, train):
        assert input_word("image-2") == "picture"
        run = train(small(image=BOTH, text={"encoder": "words"}))
        assert set(run.metrics["missing"]) == {"image", "image-2", "text"}
        assert sum(run.metrics["missing"]["text"].values()) == 1
        assert set(run.metrics["modalities"]) >= {"image only", "text only"}


class TestFindView:
    @pytest.mark.parametrize("typed", ["flip", "rotate:7.5", "crops:3", "synonyms:2", "word-dropout:0.25"])
    def test_by_what_a_table_says(self, typed):
        for view in parse_views([typed]):
            assert find_view(view.name, view.settings()) == view

    @pytest.mark.parametrize("name", ["flop", "rotate-x", "crop-", "synonyms-2"])
    def test_one_that_is_made_otherwise_now(self, name):
        with pytest.raises(ConfigError, match=f"view {name} was made with 'old'"):
            find_view(name, "old")

    def test_another_word_list(self, tmp_path):
        words = tmp_path / "words.txt"
        words.write_text("cat, kitten\n")
        view = parse_views(["synonyms:2"], words)[0]
        assert find_view(view.name, view.settings(), words) == view
        with pytest.raises(ConfigError, match="--word-list FILE"):
            find_view(view.name, view.settings())
