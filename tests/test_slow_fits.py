"""What is said of the time that an estimator will take."""

from types import SimpleNamespace

import numpy as np
import pytest

from clipfuse import slow_fits
from clipfuse.config import SplitConfig
from clipfuse.slow_fits import SAMPLE_ROWS, SLOW_SECONDS, find_slow_fit
from clipfuse.splits import find_split
from clipfuse.train_config import TrainConfig
from clipfuse.training.rows import RowsInMemory
from clipfuse_cache import FeatureCache


@pytest.fixture
def large(tmp_path, build_toy, monkeypatch):
    """``large(kind, power)``: what is found for a cache of 240 rows, of which 16 are a sample, where n rows take
    (n / 16) ** power seconds."""
    root = tmp_path / "features" / "toy"
    build_toy(root, rows=240)
    cache = FeatureCache(root)
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    monkeypatch.setattr(slow_fits, "SAMPLE_ROWS", 16)
    seen = []

    def ask(kind, power, trainings=1, **others):
        def train(jobs, rows, progress):
            (job,) = jobs
            seen.append(job.roles["train"].tolist())
            return [SimpleNamespace(seconds=(len(seen[-1]) / 16) ** power)]

        monkeypatch.setattr(slow_fits, "train_jobs", train)
        config = TrainConfig.model_validate({"head": {"kind": kind}, "fusion": {"kind": "concat"}, **others})
        return find_slow_fit(cache, samples, split, config, trainings=trainings), len(split.roles["train"]), seen

    return ask


def test_times_of_two_samples_are_extrapolated(large):
    found, rows, seen = large("svc", 2)
    assert (found.head, found.faster, found.rows) == ("svc", "linear-svc", rows)
    assert found.seconds == pytest.approx((rows / 16) ** 2)
    assert [len(sample) for sample in seen] == [8, 16] and seen[0] == sorted(set(seen[0]))


def test_all_trainings_count(large):
    once, often = large("svc", 2)[0], large("svc", 2, trainings=7)[0]
    assert often.seconds == pytest.approx(7 * once.seconds)


def test_a_part_of_a_stacked_fusion_counts(large):
    found, _, _ = large("mlp", 2, fusion={"kind": "sum"}, parts={"text": {"head": {"kind": "bagging"}}})
    assert (found.head, found.faster) == ("bagging", "random-forest")


def test_what_is_not_slow_is_not_said(large):
    assert large("svc", 1)[0] is None  # 10 times the sample's second
    assert SLOW_SECONDS > 10
    for kind in ("knn", "logistic", "mlp"):  # nothing is tried
        found, _, seen = large(kind, 2)
        assert found is None and len(seen) == 2


def test_a_real_estimate(tmp_path, build_toy, monkeypatch):
    monkeypatch.setattr(slow_fits, "SAMPLE_ROWS", 40)
    monkeypatch.setattr(slow_fits, "SLOW_SECONDS", 0.0)
    build_toy(tmp_path / "toy", rows=200)
    cache = FeatureCache(tmp_path / "toy")
    samples = cache.samples()
    config = TrainConfig.model_validate({"head": {"kind": "svc"}, "fusion": {"kind": "concat"}})
    found = find_slow_fit(cache, samples, find_split(cache, samples, SplitConfig(), None), config)
    assert 0 < found.seconds < np.inf
    assert SAMPLE_ROWS > 1000  # what times are taken on elsewhere


def test_an_estimate_from_rows_that_stay_on_disk(tmp_path, build_toy, monkeypatch):
    monkeypatch.setattr(slow_fits, "SAMPLE_ROWS", 40)
    monkeypatch.setattr(slow_fits, "SLOW_SECONDS", 0.0)
    seen, train = [], slow_fits.train_jobs
    monkeypatch.setattr(slow_fits, "train_jobs", lambda jobs, rows, say: seen.append(rows) or train(jobs, rows, say))
    build_toy(tmp_path / "toy", rows=200)
    cache = FeatureCache(tmp_path / "toy")
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    for memory_gb in (1.0, 2e-6):
        config = TrainConfig.model_validate({"head": {"kind": "svc"}, "fusion": {"kind": "concat"}})
        assert find_slow_fit(cache, samples, split, config.model_copy(update={"memory_gb": memory_gb})).seconds > 0
    assert [type(rows) for rows in seen] == [RowsInMemory] * 4  # reading would count as training
    assert all(len(rows.targets) == 40 == len(rows.streams) for rows in seen)
