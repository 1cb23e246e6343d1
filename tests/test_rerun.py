"""Timing measured again: from features, and end to end."""

import shutil
from dataclasses import replace

import pytest

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.errors import RunError
from clipfuse.live import LoadedEncoders
from clipfuse.rerun import Rerun, cached_streams, held_out_ids, random_streams
from clipfuse.run import open_run
from clipfuse.timing import Effort
from clipfuse_cache import FeatureCache

LITTLE = Effort(seconds=0.01, passes=2, calls=3)


@pytest.fixture(scope="module")
def dataset(scenes):
    return load_dataset(TableConfig(table=scenes.table, images=scenes.images))


def test_from_features_and_from_files(scenes, dataset):
    again = Rerun(LoadedEncoders("cpu"), dataset, effort=LITTLE)
    for run in scenes.runs.values():
        found, notes = again.measure(run)
        assert notes == []
        assert found.features.rows == 512 and found.features.latency_ms.median > 0
        assert 12 < found.end_to_end.rows <= 60
        assert found.end_to_end.latency_ms.median > found.features.latency_ms.median


def test_rows_that_lack_something_and_rows_that_trained_come_last(scenes, dataset):
    run = scenes.runs["sum"]
    inputs, _ = Rerun(LoadedEncoders("cpu"), dataset)._inputs(run)
    assert all(one.picture is not None and one.caption is not None for one in inputs)
    tests = set(held_out_ids(run))
    names = [one.picture.key for one in inputs]
    of_test = [any(name in picture or picture in name for name in tests) for picture in names]
    assert of_test == sorted(of_test, reverse=True) and any(of_test) and not all(of_test)


def test_without_cache_and_table_it_says_what_it_did_instead(scenes):
    run = scenes.runs["image"]
    gone = replace(run, metrics={**run.metrics, "cache": "nowhere"})
    found, notes = Rerun(LoadedEncoders("cpu"), effort=LITTLE).measure(gone)
    assert found.end_to_end is None and found.features.rows == 512
    assert notes == [
        "from features that are drawn at random (nowhere holds no mini/image/projected)",
        "not end to end (no table with pictures and captions is named here)",
    ]
    with_cache, notes = Rerun(LoadedEncoders("cpu"), cache=scenes.cache, effort=LITTLE).measure(gone)
    assert with_cache.features.rows == 512 and len(notes) == 1


def test_random_features_have_the_shapes_of_real_ones(scenes):
    run = scenes.runs["sum"]
    drawn, real = random_streams(run), cached_streams(run, FeatureCache(scenes.cache.root))
    assert {name: value.shape[1:] for name, value in drawn.values.items()} == {
        name: value.shape[1:] for name, value in real.values.items()
    }
    assert drawn.present.keys() == real.present.keys()


def test_a_table_that_lacks_what_the_run_reads(scenes, dataset):
    bare = replace(dataset, images=(None,) * len(dataset))
    _, notes = Rerun(LoadedEncoders("cpu"), bare, effort=LITTLE).measure(scenes.runs["image"])
    assert notes == ["not end to end (not one row of the table here has all that it reads)"]


def test_a_damaged_model_is_an_error(scenes, tmp_path):
    run = open_run(shutil.copytree(scenes.runs["image"].path, tmp_path / "run"))
    (run.path / "model" / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"is not what was written"):
        Rerun(LoadedEncoders("cpu"), effort=LITTLE).measure(run)
