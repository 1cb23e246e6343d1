"""How long shards took: a note beside the table, and nothing that anything depends on."""

import json
import math
import shutil
from pathlib import Path

import pytest

from clipfuse_cache import DiskFull, FeatureCache, FeatureTable, ShardTime
from clipfuse_cache.faults import armed
from clipfuse_cache.times import OLD_TIMES, TIMES, note_time, read_times
from clipfuse_cache.verify import verify

GOLDEN = Path(__file__).parent / "golden"
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


def test_a_note_leaves_what_stands_there_as_it_is(tmp_path):
    before, written = b"", []
    for index in range(4):
        note_time(tmp_path, index, ShardTime(8, 1.0, MACHINE))
        now = (tmp_path / TIMES).read_bytes()
        assert now.startswith(before)
        written.append(len(now) - len(before))
        before = now
    assert len(set(written)) == 1  # however many there are
    assert len(list(tmp_path.iterdir())) == 1


GOOD = {"index": 0, "rows": 8, "seconds": 1.0, "machine": MACHINE}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b"[" * 100_000,
        *(
            json.dumps({**GOOD, **change}).encode()
            for change in (
                {"index": "first"},
                {"rows": None},
                {"seconds": "many"},
                {"seconds": -1},
                {"seconds": math.nan},
                {"machine": 3},
            )
        ),
        *(json.dumps({name: GOOD[name] for name in GOOD if name != left_out}).encode() for left_out in GOOD),
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_damaged_line_is_passed_over(tmp_path, line):
    note_time(tmp_path, 1, ShardTime(8, 1.0, MACHINE))
    with (tmp_path / TIMES).open("ab") as file:
        file.write(line)
    note_time(tmp_path, 2, ShardTime(4, 2.0, MACHINE))  # does not join it
    assert read_times(tmp_path) == {1: ShardTime(8, 1.0, MACHINE), 2: ShardTime(4, 2.0, MACHINE)}


def test_a_full_disk_is_said_and_costs_no_earlier_note(tmp_path):
    note_time(tmp_path, 1, ShardTime(8, 1.0, MACHINE))
    with armed(f"half:{TIMES}=nospace"), pytest.raises(DiskFull, match=r"no space left to write .*times\.jsonl"):
        note_time(tmp_path, 2, ShardTime(8, 1.0, MACHINE))
    assert list(read_times(tmp_path)) == [1]
    note_time(tmp_path, 2, ShardTime(8, 3.0, MACHINE))
    assert list(read_times(tmp_path)) == [1, 2]


@pytest.mark.parametrize("golden", ["times", "time-lines"])
def test_the_golden_files(golden):
    found = read_times(GOLDEN / golden)
    assert [(index, one.rows, one.seconds) for index, one in found.items()] == [(0, 4, 0.125), (1, 3, 0.0625)]
    assert [one.machine["device"] for one in found.values()] == ["cpu", "NVIDIA H200"]


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"machines": []}, {"shards": [{"index": 0}]}, {"shards": None}, {"format": "other"}]
)
def test_what_an_older_cache_knows_is_read_until_there_is_a_line(tmp_path, change):
    shutil.copy(GOLDEN / "times" / OLD_TIMES, tmp_path)
    note_time(tmp_path, 1, ShardTime(4, 2.0, MACHINE))
    found = read_times(tmp_path)
    assert (found[0].seconds, found[1].seconds) == (0.125, 2.0)
    value = json.loads((tmp_path / OLD_TIMES).read_text())
    (tmp_path / OLD_TIMES).write_text(json.dumps({**value, **change}))
    assert list(read_times(tmp_path)) == [1]


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
