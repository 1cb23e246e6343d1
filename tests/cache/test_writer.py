from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipfuse_cache import CacheCorrupt, FeatureTable, FingerprintMismatch, Shard, hdf5
from clipfuse_cache.manifest import read_manifest, read_plan, write_plan


@contextmanager
def every_state(toy, folder):
    """Collects what ``folder`` holds before each call that changes the disk: what a kill there would leave."""
    states = []
    real = {"write": os.write, "fsync": os.fsync, "replace": Path.replace, "unlink": Path.unlink}

    def note(name):
        def call(*args, **more):
            if not states or states[-1] != toy.files(folder):
                states.append(toy.files(folder))
            if name == "write":  # and with half of it written
                descriptor, data = args
                done = real[name](descriptor, data[: len(data) // 2])
                states.append(toy.files(folder))
                return done + real[name](descriptor, data[done:])
            return real[name](*args, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "write"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, note(name))
        yield states
    states.append(toy.files(folder))


def fill(toy, writer, texts, indices=None):
    """Write these of the writer's shards; all that are missing for None."""
    for index in writer.missing() if indices is None else indices:
        ids = [list(texts)[row] for row in writer.rows_of(index)]
        writer.write(index, toy.make_shard({name: texts[name] for name in ids}, writer.plan.table))


def test_plan_shards_manifest_in_that_order(toy, tmp_path):
    with every_state(toy, tmp_path) as states:
        toy.extract(tmp_path, toy.inputs(10))
    seen = []
    for state in states:
        seen += [name for name in state if name not in seen and not name.endswith(".tmp")]
    assert seen == ["plan.json", *(f"shard-00000{n}.h5" for n in range(3)), "manifest.json"]
    assert sorted(states[-1]) == ["manifest.json", *seen[1:4]]


def test_killed_at_any_point_and_resumed_the_bytes_are_the_same(toy, tmp_path):
    texts, folder = toy.inputs(14), tmp_path / "table"
    with every_state(toy, folder) as states:
        toy.extract(folder, texts)
    whole = toy.files(folder)
    assert len(states) > 15
    for state in states:
        toy.restore(folder, state)
        done = sum(name.startswith("shard-") for name in state)
        encoded = toy.extract(folder, texts, shard_rows=7, batch_size=9)  # a resume keeps the plan's own
        toy.check(folder, texts)
        if state.keys() & {"plan.json", "manifest.json"}:
            assert toy.files(folder) == whole
            assert encoded == list(texts)[4 * done :]


@pytest.mark.parametrize(
    "change",
    [
        lambda texts: texts | {"more-1": "one", "more-2": "two", "more-3": "three", "more-4": "", "more-5": "broken"},
        lambda texts: texts | {name: texts[name] + " edited" for name in ("row-1", "row-6", "row-9", "row-2", "row-4")},
        lambda texts: {"first": "put first", "second": "and", **texts, "row-8": "edited"},
        lambda texts: dict(list(texts.items())[5:12]),
        lambda texts: dict(reversed(texts.items())),
    ],
    ids=["grown", "edited", "grown and edited", "removed", "reordered"],
)
def test_a_changed_data_set_encodes_what_changed_and_survives_kills_at_any_point(toy, tmp_path, change):
    before, folder = toy.inputs(14), tmp_path / "table"
    toy.extract(folder, before)
    after = change(before)
    with every_state(toy, folder) as states:
        encoded = toy.extract(folder, after)
    assert encoded == [name for name in after if after[name] != before.get(name)]
    whole = toy.files(folder)
    toy.check(folder, after)
    for state in states:
        toy.restore(folder, state)
        FeatureTable.open(folder).take([name for name in after if name in before])  # readable at any moment
        stale = toy.open_writer(folder, after).stale
        toy.extract(folder, after)
        assert toy.files(folder) == whole
        if state.get("manifest.json") != whole["manifest.json"]:
            assert stale == tuple(name for name in encoded if name in before)


def test_work_under_way_survives_an_edited_data_set_and_kills_after_it(toy, tmp_path):
    before, folder = toy.inputs(24), tmp_path / "table"
    finished = toy.extract(folder, before, stop_after=4)
    assert len(finished) == 16
    after = {"new-1": "one", **before, "row-2": "edited", "row-20": "edited too"}
    after.pop("row-7")
    with every_state(toy, folder) as states:
        encoded = toy.extract(folder, after)
    assert encoded == [name for name in after if name not in finished or after[name] != before[name]]
    whole = toy.files(folder)
    toy.check(folder, after)
    for state in states:
        toy.restore(folder, state)
        todo = toy.extract(folder, after)
        assert set(todo) <= set(encoded)  # never a finished row again
        assert toy.files(folder) == whole


def test_a_plan_keeps_whether_the_forward_pass_is_compiled(toy, tmp_path):
    texts = toy.inputs(12)
    writer = toy.open_writer(tmp_path, texts, compiled=True)
    writer.begin()
    assert read_plan(tmp_path).compiled
    assert toy.open_writer(tmp_path, texts, compiled=False).plan == writer.plan
    toy.extract(tmp_path / "another", texts, stop_after=1)
    assert not toy.open_writer(tmp_path / "another", texts, compiled=True).plan.compiled


def test_the_rest_of_an_interrupted_plan_goes_on_with_another_batch_size(toy, tmp_path):
    texts, folder = toy.inputs(24), tmp_path / "table"
    toy.extract(folder, texts, stop_after=3, batch_size=16)
    before = toy.files(folder)
    with every_state(toy, folder) as states:
        writer = toy.open_writer(folder, texts, shard_rows=9, batch_size=99, compiled=True)
        assert writer.plan.batch_size == 16
        writer.replan(8)
        assert toy.files(folder) == before  # nothing is written before begin
        writer.begin()
        assert (writer.plan.batch_size, writer.plan.shard_rows, writer.plan.compiled) == (8, 4, False)
        assert [entry.index for entry in writer.plan.kept] == [0, 1, 2]
        assert writer.missing() == [3, 4, 5]
        fill(toy, writer, texts)
        writer.commit()
    whole = toy.files(folder)
    toy.check(folder, texts)
    assert {name: whole[name] for name in before if name != "plan.json"}.items() <= before.items()
    for state in states:  # killed at any point, and run again as before
        toy.restore(folder, state)
        writer = toy.open_writer(folder, texts, batch_size=16)
        if writer.plan.batch_size == 16:
            writer.replan(8)
        writer.begin()
        fill(toy, writer, texts)
        writer.commit()
        assert toy.files(folder) == whole


def test_planning_with_the_same_batch_size_or_without_a_plan_changes_nothing_else(toy, tmp_path):
    texts = toy.inputs(12)
    writer = toy.open_writer(tmp_path, texts, batch_size=4)
    fresh = writer.plan
    writer.replan(4)
    assert writer.plan == fresh
    writer.replan(2)
    assert writer.plan == replace(fresh, batch_size=2)
    toy.extract(tmp_path, texts)
    complete = toy.open_writer(tmp_path, texts)
    complete.replan(1)
    assert (complete.new_rows, complete.missing()) == (0, [])
    (tmp_path / "shard-000001.h5").unlink()
    damaged = toy.open_writer(tmp_path, texts)
    damaged.replan(1)
    assert (damaged.damaged, damaged.missing()) == (("shard-000001.h5",), [3])


def test_work_under_way_survives_several_edits(toy, tmp_path):
    texts, encoded = toy.inputs(20), []
    for edit in range(4):
        encoded += toy.extract(tmp_path, texts, stop_after=1)
        texts = {f"new-{edit}": f"new {edit}", **texts}
    assert len(read_plan(tmp_path).kept) == 3
    encoded += toy.extract(tmp_path, texts)
    assert sorted(encoded) == sorted(texts)
    table = toy.check(tmp_path, texts)
    assert len(table.manifest.shards) == 6


def test_features_of_a_reverted_edit_are_not_taken_for_the_old_ones(toy, tmp_path):
    old = toy.inputs(12)
    toy.extract(tmp_path, old)
    new = old | {"row-1": "edited", "row-6": "edited", "row-8": "edited", "row-9": "edited", "row-4": "edited"}
    toy.extract(tmp_path, new, stop_after=1)
    toy.extract(tmp_path, old)
    toy.check(tmp_path, old)
    toy.extract(tmp_path, new)
    toy.check(tmp_path, new)


def test_a_lost_manifest_is_made_again_without_encoding(toy, tmp_path):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts)
    toy.extract(tmp_path, texts | {"row-2": "edited"})
    manifest = (tmp_path / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").unlink()
    assert toy.extract(tmp_path, texts | {"row-2": "edited"}) == []
    assert (tmp_path / "manifest.json").read_bytes() == manifest


def test_a_lost_plan_loses_no_finished_shard(toy, tmp_path):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts, stop_after=3)
    (tmp_path / "plan.json").unlink()
    assert toy.extract(tmp_path, texts) == list(texts)[12:]
    toy.check(tmp_path, texts)


def test_a_complete_table_has_nothing_to_do(toy, tmp_path):
    texts = toy.inputs(10)
    toy.extract(tmp_path, texts)
    before = toy.files(tmp_path)
    writer = toy.open_writer(tmp_path, texts)
    assert (writer.new_rows, writer.missing(), writer.stale, writer.damaged) == (0, [], (), ())
    writer.commit()
    assert toy.files(tmp_path) == before


def test_no_rows_at_all(toy, tmp_path):
    assert toy.extract(tmp_path, {}) == []
    assert FeatureTable.open(tmp_path).take([]).values.shape == (0, 1, 8)


def test_a_shard_that_is_not_the_planned_one_is_refused(toy, tmp_path):
    texts = toy.inputs(10)
    writer = toy.open_writer(tmp_path, texts)
    writer.begin()
    names = list(texts)
    good = toy.make_shard({name: texts[name] for name in names[4:8]}, toy.description())
    wrong = [
        toy.make_shard({name: texts[name] for name in reversed(names[4:8])}, toy.description()),
        toy.make_shard({name: texts[name] for name in names[:4]}, toy.description()),
        toy.make_shard({name: texts[name] + "x" for name in names[4:8]}, toy.description()),
        Shard(good.ids, good.digests, good.values.astype(np.float32), good.valid),
        Shard(good.ids, good.digests, good.values[:, :, :-1], good.valid),
    ]
    for shard in wrong:
        with pytest.raises(ValueError, match=r"planned rows|values are"):
            writer.write(1, shard)
    assert sorted(toy.files(tmp_path)) == ["plan.json"]
    writer.write(1, good)
    assert writer.missing() == [0, 2]


def test_nothing_is_committed_before_every_shard_is_there(toy, tmp_path):
    texts = toy.inputs(10)
    toy.extract(tmp_path, texts, stop_after=2)
    writer = toy.open_writer(tmp_path, texts)
    with pytest.raises(CacheCorrupt, match=r"shard-000002.h5 is missing.*extract"):
        writer.commit()
    assert read_manifest(tmp_path) is None


def test_a_shard_that_vanishes_before_the_commit_is_noticed(toy, tmp_path):
    texts = toy.inputs(8)
    writer = toy.open_writer(tmp_path, texts)
    writer.begin()
    for index in writer.missing():
        rows = list(texts)[4 * index : 4 * index + 4]
        writer.write(index, toy.make_shard({name: texts[name] for name in rows}, toy.description()))
    (tmp_path / "shard-000000.h5").unlink()
    with pytest.raises(CacheCorrupt, match=r"shard-000000.h5 is missing"):
        writer.commit()


def test_two_writers_of_one_plan_end_with_the_same_bytes(toy, tmp_path):
    texts, folder = toy.inputs(20), tmp_path / "two"
    toy.extract(tmp_path / "one", texts)

    def shard(writer, index):
        ids = [list(texts)[row] for row in writer.rows_of(index)]
        return toy.make_shard({name: texts[name] for name in ids}, toy.description())

    first = toy.open_writer(folder, texts)
    first.begin()
    first.write(0, shard(first, 0))
    second = toy.open_writer(folder, texts, shard_rows=9)
    second.begin()
    assert second.missing() == [1, 2, 3, 4]
    for index in (3, 4):
        second.write(index, shard(second, index))
    for index in (1, 2, 3):
        first.write(index, shard(first, index))
    first.commit()
    second.commit()
    assert toy.files(folder) == toy.files(tmp_path / "one")


def test_another_fingerprint_in_the_folder_is_refused_by_field(toy, tmp_path):
    texts = toy.inputs(10)
    toy.extract(tmp_path / "complete", texts)
    toy.extract(tmp_path / "begun", texts, stop_after=1)
    for folder in ("complete", "begun"):
        before = toy.files(tmp_path / folder)
        with pytest.raises(FingerprintMismatch, match="activation: 'quick_gelu', not 'gelu'"):
            toy.extract(tmp_path / folder, texts, toy.description(activation="quick_gelu"))
        assert toy.files(tmp_path / folder) == before


@pytest.mark.parametrize("field", ["rows", "rows_digest", "first_shard"])
def test_a_plan_that_does_not_fit_the_rows_is_not_followed(toy, tmp_path, field):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts, stop_after=2)
    plan = read_plan(tmp_path)
    write_plan(tmp_path, replace(plan, **{field: {"rows": 12, "rows_digest": "ab", "first_shard": 10**12}[field]}))
    toy.extract(tmp_path, texts)
    toy.check(tmp_path, texts)


def test_a_shard_is_hashed_once_when_it_is_written_and_once_when_it_is_committed(toy, tmp_path, monkeypatch):
    hashed = []

    class Counted:
        def __init__(self, data=b""):
            self.inner = hashlib.sha256()
            self.update(data)

        def update(self, data):
            hashed.append(len(data))
            self.inner.update(data)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(hdf5, "hashlib", SimpleNamespace(sha256=Counted))
    toy.extract(tmp_path, toy.inputs(12), shard_rows=4)
    size = sum(path.stat().st_size for path in tmp_path.glob("shard-*.h5"))
    assert sum(hashed) == 2 * size
    assert [entry.sha256 for entry in read_manifest(tmp_path).shards] == [
        hashlib.sha256((tmp_path / f"shard-{index:06d}.h5").read_bytes()).hexdigest() for index in range(3)
    ]
