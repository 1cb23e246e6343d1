"""How long shards took: a note beside the table, and nothing that anything depends on."""

import json
from pathlib import Path

import pytest

from clipfuse_cache import FeatureCache, FeatureTable, ShardTime
from clipfuse_cache.times import TIMES, note_time, read_times
from clipfuse_cache.verify import verify

GOLDEN = Path(__file__).parent / "golden" / "times"
MACHINE = {"processor": "one", "cores": 2, "device": "cpu"}


def test_what_is_noted_is_read_and_the_last_note_of_a_shard_counts(tmp_path):
    other = {**MACHINE, "device": "a GPU"}
    for index, seconds, machine in ((1, 2.5, MACHINE), (0, 1.0, other), (1, 0.5, other), (2, 4.0, MACHINE)):
        note_time(tmp_path, index, ShardTime(8, seconds, machine))
    assert read_times(tmp_path) == {
        0: ShardTime(8, 1.0, other),
        1: ShardTime(8, 0.5, other),
        2: ShardTime(8, 4.0, MACHINE),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"machines": []},
        {"shards": [{"index": 0}]},
        {"shards": [{"index": 0, "rows": 8, "seconds": "many", "machine": 0}]},
        {"shards": [{"index": 0, "rows": 8, "seconds": -1, "machine": 0}]},
        {"shards": None},
    ],
)
def test_a_damaged_note_is_none(tmp_path, change):
    note_time(tmp_path, 0, ShardTime(8, 1.0, MACHINE))
    value = json.loads((tmp_path / TIMES).read_text())
    (tmp_path / TIMES).write_text(json.dumps({**value, **change}))
    assert read_times(tmp_path) == {}
    note_time(tmp_path, 1, ShardTime(4, 2.0, MACHINE))  # and is written over
    assert 1 in read_times(tmp_path)


def test_the_golden_file():
    found = read_times(GOLDEN)
    assert [(index, one.rows, one.seconds) for index, one in found.items()] == [(0, 4, 0.125), (1, 3, 0.0625)]
    assert [one.machine["device"] for one in found.values()] == ["cpu", "NVIDIA H200"]


def test_no_json_is_none(tmp_path):
    assert read_times(tmp_path) == {}
    (tmp_path / TIMES).write_bytes(b"{")
    assert read_times(tmp_path) == {}


def test_a_shard_is_written_after_its_time(toy, tmp_path):
    folder, texts = tmp_path / "tables" / "a", toy.inputs(12)
    writer = toy.open_writer(folder, texts)
    writer.begin()
    for index in writer.missing():
        ids = [list(texts)[row] for row in writer.rows_of(index)]
        shard = toy.make_shard({name: texts[name] for name in ids}, writer.plan.table)
        time = None if index == 1 else ShardTime(len(ids), 1.0 + index, MACHINE)
        writer.write(index, shard, time)
    table = writer.commit()
    assert [one and one.seconds for one in table.times()] == [1.0, None, 3.0]
    assert (folder / TIMES).stat().st_mtime_ns <= (folder / "shard-000002.h5").stat().st_mtime_ns
    assert FeatureTable.open(folder).times() == table.times()
    cache = FeatureCache(tmp_path)
    cache.write_samples(toy.samples(texts))
    found = verify(cache)
    assert (found.problems, found.foreign) == ((), ())
