"""From pictures and captions to streams, in memory: the same as through a cache."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.extract import ExtractOptions
from clipfuse.live import LiveInputs, LoadedEncoders, RowInput
from clipfuse.predict import predict
from clipfuse.testing import FakeFactory

CPU = ExtractOptions(batch_size=16, threads=1)


@pytest.fixture(scope="module")
def dataset(scenes):
    return load_dataset(TableConfig(table=scenes.table, images=scenes.images))


@pytest.mark.parametrize("threads", [1, 3])
def test_it_predicts_what_predict_does(scenes, dataset, threads):
    run = scenes.runs["sum"]
    expected = predict(run, dataset, cache=scenes.cache, options=CPU).probabilities
    live = LiveInputs.open(run, LoadedEncoders("cpu"), threads=threads)
    rows = [RowInput(*one) for one in zip(dataset.images, dataset.captions, strict=True)]
    streams = live.streams(rows)
    assert streams.values["image"].dtype == torch.float16
    assert int((~streams.present["image"]).sum()) == 5 and int((~streams.present["text"]).sum()) == 3
    np.testing.assert_allclose(run.predictor().probabilities(streams), expected, atol=2e-3)
    alone = torch.cat([live.streams([row]).values["text"] for row in rows[:9]])
    torch.testing.assert_close(alone, streams.values["text"][:9], atol=2e-3, rtol=1e-2)


def test_encoders_are_loaded_once():
    factory, encoders = FakeFactory(), LoadedEncoders("cpu")
    first = encoders.load(factory, factory.specs)
    assert encoders.load(replace(factory, loads=0), factory.specs) is first
    assert factory.loads == 1
    encoders.load(factory, factory.specs[:1])
    assert factory.loads == 2


def test_views_are_read_too(scenes, dataset, monkeypatch, tmp_path, settings):
    from clipfuse.config import SplitConfig
    from clipfuse.encoders import find_encoder
    from clipfuse.extract import extract
    from clipfuse.splits import find_split
    from clipfuse.train_head import train_head
    from clipfuse.views import parse_views
    from clipfuse_cache import FeatureCache

    cache = FeatureCache(tmp_path / "cache")
    options = ExtractOptions(shard_rows=60, batch_size=16, views=parse_views(["crops:1", "word-dropout:0.3"]))
    extract([find_encoder("mini")], dataset, cache, options)
    samples = cache.samples()
    views = {name: {"views": ["all"]} for name in ("image", "text")}
    config = settings("concat", epochs=2, average_views=True, **views)
    run = train_head(cache, samples, find_split(cache, samples, SplitConfig(), None), config, runs=tmp_path / "runs")
    expected = predict(run, dataset, cache=cache, options=CPU).probabilities
    live = LiveInputs.open(run, LoadedEncoders("cpu"), threads=1)
    streams = live.streams([RowInput(*one) for one in zip(dataset.images, dataset.captions, strict=True)])
    assert streams.versions == 2
    np.testing.assert_allclose(run.predictor().probabilities(streams), expected, atol=2e-3)
