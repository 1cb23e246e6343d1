"""Estimators on the words of captions: trained, kept, and predicting; alone and beside embeddings."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipfuse import run_features
from clipfuse.check_config import check_config
from clipfuse.config import SplitConfig
from clipfuse.cross_validate import cross_validate
from clipfuse.data.dataset import LedgerEntry
from clipfuse.errors import ConfigError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.live import LoadedEncoders
from clipfuse.predict import predict
from clipfuse.pseudo_labels import read_unlabelled
from clipfuse.rerun import Rerun, random_streams
from clipfuse.run import open_run
from clipfuse.select_streams import select_streams
from clipfuse.splits import find_cross_validation, find_split
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse.timing import Effort
from clipfuse.train_config import TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import CacheMissing, FeatureCache

ROWS = 90
FACTORY = FakeFactory()
OPTIONS = ExtractOptions(shard_rows=50, batch_size=16, threads=1)
NB = {"kind": "multinomial-nb"}


def config(fusion="text", head=NB, **others):
    given = {"fusion": {"kind": fusion}, "head": head, "fit": {"epochs": 2}, "features": "tfidf"}
    return TrainConfig.model_validate({**given, **others})


def summed(**others):
    parts = {"text": {"head": NB}}
    return config("sum", head={"kind": "linear"}, parts=parts, **others)


def captions(count, extra=""):
    return {
        f"p{n}": None if n == 7 else f"photo {n // 3} of {'dog' if n % 2 == 0 else 'cat'}{extra}" for n in range(count)
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """90 rows: the word "dog" tells the one label; row 7 has no caption."""
    images = MemoryImages({f"p{n}": small_png(n) for n in range(ROWS)})
    dataset = fake_dataset(images, captions(ROWS))
    cache = FeatureCache(tmp_path_factory.mktemp("words") / "cache")
    extract([FACTORY], dataset, cache, OPTIONS)
    samples = cache.samples()
    return SimpleNamespace(
        cache=cache, dataset=dataset, samples=samples, split=find_split(cache, samples, SplitConfig(), None)
    )


@pytest.fixture
def train(data, tmp_path, monkeypatch):
    """``train(config)`` -> Run."""
    monkeypatch.setattr(run_features, "find_encoder", lambda name, **_: FACTORY)
    return lambda chosen, **more: train_head(data.cache, data.samples, data.split, chosen, runs=tmp_path, **more)


def of_dataset(run, dataset):
    kept = run.predictions()
    place = {name: row for row, name in enumerate(kept.ids)}
    return kept.probabilities[[place[name] for name in dataset.ids]]


@pytest.mark.parametrize("features", ["counts", "tfidf"])
def test_words_are_learned_kept_and_predicted(data, train, features):
    run = train(config(features=features))
    assert run.name.endswith(f"multinomial-nb-{features}")
    assert run.metrics["scores"]["test"]["scores"]["micro_f1"] > 0.9
    assert run.dims == {"text": max(len(caption or "") for caption in data.dataset.captions)}
    assert not run.streams and run.metrics["missing"]["text"]
    for cache in (None, data.cache):
        found = predict(open_run(run.path), data.dataset, cache=cache, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities, of_dataset(run, data.dataset), atol=1e-6)
    assert found.without_input.tolist() == [caption is None for caption in data.dataset.captions]


def test_a_prediction_without_encoders_names_bad_rows(data, train):
    entry = LedgerEntry("caption", "p3", "caption", "mended")
    found = predict(train(config()), replace(data.dataset, ledger=(entry,)), options=OPTIONS)
    assert found.ledger == (entry,)


def test_longer_captions_than_training_had(train):
    images = MemoryImages({f"p{n}": small_png(n) for n in range(4)})
    longer = fake_dataset(images, captions(4, extra=" and much more than any caption that it has read"))
    found = predict(train(config()), longer, options=OPTIONS)
    assert found.chosen[:, 0].tolist() == [True, False, True, False]


def test_only_words_of_training_rows_are_known(data, train):
    run = train(config())
    words = run.predictor().model.fusion.head.estimator.pipeline.named_steps["words"].vocabulary_
    kept = dict(zip(data.dataset.ids, data.dataset.captions, strict=True))
    expected = {word for name in data.split.roles["train"] for word in (kept[name] or "").split() if len(word) > 1}
    assert set(words) == expected


def test_beside_embeddings_of_pictures(data, train):
    run = train(summed())
    assert run.name.endswith("sum-tfidf") and list(run.dims) == ["image", "text"]
    assert set(run.metrics["modalities"]) == {"image only", "text only", "both"}
    assert run.metrics["modalities"]["text only"]["scores"]["micro_f1"] > 0.9
    for cache in (None, data.cache):
        found = predict(run, data.dataset, cache=cache, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities, of_dataset(run, data.dataset), atol=1e-5)


def test_its_speed_is_measured_from_words_and_beside_pictures(data, train, monkeypatch):
    little = Effort(seconds=0.01, passes=2, calls=3)
    for chosen in (config(), summed()):
        found, notes = Rerun(LoadedEncoders("cpu"), data.dataset, effort=little).measure(train(chosen))
        assert notes == [] and found.end_to_end.rows == 64
        assert random_streams(train(chosen)).values["text"].dtype == torch.uint8


def test_the_same_seed_gives_the_same_files(train):
    one, other = train(summed()), train(summed())
    assert one.metrics["files"] == other.metrics["files"]


def test_in_cross_validation(data, tmp_path):
    deal = find_cross_validation(data.cache, data.samples, 3, SplitConfig(), None)
    run = cross_validate(data.cache, data.samples, [deal], config(refit="all"), runs=tmp_path)
    assert run.metrics["scores"]["test"]["scores"]["micro_f1"] > 0.9
    assert predict(run, data.dataset, cache=data.cache, options=OPTIONS).probabilities.shape == (ROWS, 1)


def test_unlabelled_rows(data, tmp_path):
    images = MemoryImages({f"q{n}": small_png(200 + n) for n in range(3)})
    more = FeatureCache(tmp_path / "more")
    extract([FACTORY], fake_dataset(images, {"q0": "a new dog", "q1": None, "q2": "cat"}), more, OPTIONS)
    tables = select_streams(data.cache, summed())
    found = read_unlabelled(more, tables, data.samples, data.split, "cpu", 1.0)
    assert found.streams.values["text"].shape == (3, 1, tables.own.caption_bytes)
    assert found.streams.present["text"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        (config("concat"), r"fusion concat reads embeddings of captions.*--fusion text, or sum"),
        (config("mixed"), r"fusion concat reads embeddings of captions"),
        (config("text", head={"kind": "mlp"}), r"head mlp reads embeddings.*--head multinomial-nb"),
        (config("sum", head={"kind": "mlp"}), r"head mlp reads.*--set parts.text.head.kind=multinomial-nb"),
        (config("image", head=NB), r"fusion image reads no captions.*--fusion text"),
    ],
)
def test_what_reads_no_words_says_so(chosen, problem):
    with pytest.raises(ConfigError, match=problem):
        check_config(chosen)


def test_a_cache_without_captions(data, tmp_path):
    bare = FeatureCache(tmp_path / "bare")
    images = MemoryImages({f"p{n}": small_png(n) for n in range(4)})
    extract([FACTORY], fake_dataset(images, {f"p{n}": None for n in range(4)}), bare, OPTIONS)
    with pytest.raises(CacheMissing, match=r"holds no captions.*tfidf"):
        select_streams(bare, config())
