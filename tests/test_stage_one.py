"""What stage one cost that a run's features come from."""

import json

import pytest

from clipfuse.extract import ExtractOptions, extract
from clipfuse.stage_one import StageOne, stage_one
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse_cache import FeatureCache
from clipfuse_cache.times import TIMES, note_time, read_times


@pytest.fixture
def tables(tmp_path):
    """name -> table, of two encoders, one with two outputs; what they took is set: 10 rows in 2 s and in 3 s."""
    images = MemoryImages({f"p{n}": small_png(n) for n in range(10)})
    dataset = fake_dataset(images, {name: f"caption of {name}" for name in images.files})
    factories = [FakeFactory("a", outputs=("projected", "pooled"), modalities=("image",)), FakeFactory("b")]
    cache = FeatureCache(tmp_path)
    extract(factories, dataset, cache, ExtractOptions(shard_rows=5, batch_size=3, threads=1))
    found = {table.description.name: table for table in cache.tables()}
    for name, table in found.items():
        for index, time in read_times(table.folder).items():
            seconds = 1.0 if name.startswith("a") else 1.5
            note_time(table.folder, index, type(time)(time.rows, seconds, {"cores": 2}))
    return found


def test_encoders_add_up_and_outputs_of_one_pass_do_not(tables):
    both = stage_one([tables["a/image/projected"], tables["b/image/projected"]])
    assert both == StageOne(10 / (2 + 3), 5.0, ({"cores": 2},))
    assert stage_one([tables["a/image/projected"], tables["a/image/pooled"]]) == StageOne(5.0, 2.0, ({"cores": 2},))
    assert StageOne.from_dict(json.loads(json.dumps(both.to_dict()))) == both


def test_a_shard_without_a_time_leaves_the_rate(tables):
    table = tables["a/image/projected"]
    times = table.folder / TIMES
    lines = [line for line in times.read_text().splitlines() if json.loads(line)["index"] == 0]
    times.write_text("\n".join(lines))
    assert stage_one([table]) == StageOne(5.0, None, ({"cores": 2},))


def test_what_is_not_known_is_nothing(tables):
    (tables["b/text/projected"].folder / TIMES).unlink()
    assert stage_one([tables["a/image/projected"], tables["b/text/projected"]]) is None
    assert stage_one([]) is None
