"""Several processes on one table: one plan, shares of its shards, one commit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse_cache import CacheError, CacheMissing, FeatureCache, FeatureTable, Share, merge
from clipfuse_cache import atomic as atomic_module
from clipfuse_cache import writer as writer_module
from clipfuse_cache.lock import locked
from clipfuse_cache.manifest import read_plan

TOY = Path(__file__).with_name("toy.py")


def fill(toy, writer, texts, indices):
    for index in indices:
        ids = [list(texts)[row] for row in writer.rows_of(index)]
        writer.write(index, toy.make_shard({name: texts[name] for name in ids}, writer.plan.table))


@pytest.mark.parametrize(("index", "count"), [(-1, 2), (2, 2), (0, 0), (3, 2)])
def test_a_share_is_one_of_its_count(index, count):
    with pytest.raises(ValueError, match=f"worker {index} of {count}"):
        Share(index, count)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_are_disjoint_and_make_the_whole_whatever_the_first_shard(toy, tmp_path, count):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts)
    texts |= toy.inputs(22, prefix="new")
    writer = toy.open_writer(tmp_path, texts)
    writer.begin()
    assert writer.plan.first_shard == 5
    shares = [writer.missing(Share(index, count)) for index in range(count)]
    assert sorted(index for share in shares for index in share) == writer.missing() == [5, 6, 7, 8, 9, 10]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares[0][0] == 5


def test_workers_that_begin_at_once_share_the_plan_of_the_first(toy, tmp_path):
    texts = toy.inputs(30)
    first, second, third = (toy.open_writer(tmp_path, texts, shard_rows=n, batch_size=n) for n in (3, 4, 5))
    second.begin()
    first.begin()
    third.begin()
    assert first.plan == second.plan == third.plan == read_plan(tmp_path)
    assert first.plan.shard_rows == 4
    for index, writer in enumerate((first, second, third)):
        fill(toy, writer, texts, writer.missing(Share(index, 3)))
    assert third.missing() == []
    third.commit()
    toy.check(tmp_path, texts)


def test_a_plan_that_turns_up_between_look_and_write_is_taken(toy, tmp_path, monkeypatch):
    """As on a file system without locks, where two can look at once."""
    texts = toy.inputs(12)
    late = toy.open_writer(tmp_path, texts, batch_size=9)
    real = writer_module.write_plan

    def quicker(folder, plan, **how):
        monkeypatch.setattr(writer_module, "write_plan", real)
        toy.extract(tmp_path, texts, stop_after=1)
        return real(folder, plan, **how)

    monkeypatch.setattr(writer_module, "locked", lambda *_args, **_more: locked(tmp_path / "elsewhere", shared=True))
    monkeypatch.setattr(writer_module, "write_plan", quicker)
    late.begin()
    assert late.plan == read_plan(tmp_path)
    assert (late.plan.batch_size, late.missing()) == (2, [1, 2])


def test_without_hard_links_the_plan_is_written_all_the_same(toy, tmp_path, monkeypatch):
    def no_links(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(atomic_module.os, "link", no_links)
    toy.extract(tmp_path, toy.inputs(12))
    toy.check(tmp_path, toy.inputs(12))
    assert not list(tmp_path.glob(".*"))


def test_a_worker_that_comes_after_the_commit_finds_nothing_to_do(toy, tmp_path):
    texts = toy.inputs(20)
    late, slow = (toy.open_writer(tmp_path, texts, shard_rows=7) for _ in range(2))
    slow.begin()
    toy.extract(tmp_path, texts)
    whole = toy.files(tmp_path)
    late.begin()
    assert (late.new_rows, late.missing()) == (0, [])
    fill(toy, slow, texts, [0, 1, 2])
    assert slow.commit().manifest == FeatureTable.open(tmp_path).manifest
    assert toy.files(tmp_path) == whole


CHANGES = {
    "other inputs": lambda texts: texts | {"row-1": "edited"},
    "more rows": lambda texts: texts | {"one more": "row"},
    "fewer rows": lambda texts: dict(list(texts.items())[:9]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_two_extractions_of_different_data_do_not_undo_each_other(toy, tmp_path, change):
    mine = toy.inputs(20)
    yours = change(mine)
    first = toy.open_writer(tmp_path, mine)
    first.begin()
    fill(toy, first, mine, [0, 1])
    second = toy.open_writer(tmp_path, yours)
    second.begin()
    before = toy.files(tmp_path)
    for action in (lambda: fill(toy, first, mine, [2]), first.commit):
        with pytest.raises(CacheError, match=f"{tmp_path.name}.*another extraction of other rows.*is at work there"):
            action()
    assert toy.files(tmp_path) == before
    fill(toy, second, yours, second.missing())
    second.commit()
    complete = toy.files(tmp_path)
    for action in (lambda: fill(toy, first, mine, [3]), first.commit):
        with pytest.raises(CacheError, match="another extraction"):
            action()
    assert toy.files(tmp_path) == complete
    toy.check(tmp_path, yours)
    toy.extract(tmp_path, mine)
    toy.check(tmp_path, mine)


def test_the_later_of_two_different_beginnings_is_refused(toy, tmp_path):
    mine, yours = toy.inputs(20), toy.inputs(20) | {"row-1": "edited"}
    first, second = toy.open_writer(tmp_path, mine), toy.open_writer(tmp_path, yours)
    first.begin()
    with pytest.raises(CacheError, match=r"another extraction.*run the same command again"):
        second.begin()
    fill(toy, first, mine, first.missing())
    first.commit()
    toy.check(tmp_path, mine)
    toy.extract(tmp_path, yours)
    toy.check(tmp_path, yours)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_eight_writers_in_any_order_end_with_one_right_table(toy, tmp_path_factory, seed):
    """Steps of eight workers, some with shares and some without, in a random order; some die on the way."""
    rng = random.Random(seed)
    folder = tmp_path_factory.getbasetemp() / "eight"
    toy.restore(folder, {})
    texts = toy.inputs(26)

    def worker(number):
        writer = toy.open_writer(folder, texts, shard_rows=rng.choice([3, 4]), batch_size=2)
        yield
        writer.begin()
        yield
        share = Share(number, 8) if rng.random() < 0.5 else None
        for index in writer.missing(share):
            yield
            fill(toy, writer, texts, [index])
        yield
        if not writer.missing():
            writer.commit()

    workers = [worker(number) for number in range(8)]
    while workers:
        chosen = rng.choice(workers)
        if next(chosen, StopIteration) is StopIteration or rng.random() < 0.02:
            workers.remove(chosen)
    toy.extract(folder, texts)
    toy.check(folder, texts)
    manifest = FeatureTable.open(folder).manifest
    assert sorted(toy.files(folder)) == ["manifest.json", *(f"shard-{entry.index:06d}.h5" for entry in manifest.shards)]


def test_eight_processes_at_once_end_with_the_bytes_of_one(toy, tmp_path):
    texts, rows = toy.inputs(120), ("120", "6")
    toy.extract(tmp_path / "one", texts, shard_rows=6)
    folder = tmp_path / "eight"
    running = [
        subprocess.Popen([sys.executable, TOY, folder, *rows], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 8, said
    assert toy.files(folder) == toy.files(tmp_path / "one")


def test_a_lock_is_held_by_one_or_shared_by_many(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    folder = tmp_path / "new" / "folder"

    def free(kind):
        descriptor = os.open(folder.with_name(".folder.lock"), os.O_RDONLY)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    with locked(folder):
        assert not free(fcntl.LOCK_SH)
    with locked(folder, shared=True), locked(folder, shared=True):
        assert free(fcntl.LOCK_SH) and not free(fcntl.LOCK_EX)
    assert free(fcntl.LOCK_EX)
    assert not folder.exists()


def test_the_bytes_that_are_there_at_the_commit_count(toy, tmp_path):
    """Another machine's rounding can differ: what one worker remembers of a shard need not be what stayed on disk."""
    texts = toy.inputs(8)
    one, other = (toy.open_writer(tmp_path, texts) for _ in range(2))
    one.begin()
    other.begin()
    fill(toy, one, texts, [0, 1])
    shard = toy.make_shard({name: texts[name] for name in list(texts)[:4]}, toy.description())
    rounded = replace(shard, values=np.nextafter(shard.values, np.float16(9)) * shard.valid[:, None, None])
    other.write(0, rounded)
    assert np.array_equal(one.commit().take(list(texts)[:4]).values, rounded.values)


@pytest.fixture
def cache(toy, tmp_path):
    """Samples of which nothing is encoded yet."""
    made = FeatureCache(tmp_path / "features")
    made.write_samples(toy.samples(toy.inputs(20)))
    return made


def work(toy, cache, share=None, about=None, texts=None):
    texts = texts or toy.inputs(20)
    digests = [toy.digest_of(text) for text in texts.values()]
    about = about or toy.description()
    writer = cache.writer(about, tuple(texts), digests, shard_rows=4, batch_size=2)
    writer.begin()
    fill(toy, writer, texts, writer.missing(share))
    return writer.folder


def test_merge_completes_what_workers_made_and_does_nothing_twice(toy, cache):
    other = toy.description(view="flipped")
    for index in (2, 0, 1):
        folders = [work(toy, cache, Share(index, 3), about) for about in (None, other)]
    assert sorted(table.folder for table in merge(cache)) == sorted(folders)
    for folder in folders:
        toy.check(folder, toy.inputs(20))
    before = [toy.files(folder) for folder in folders]
    assert merge(cache) == []
    assert [toy.files(folder) for folder in folders] == before
    assert cache.unfinished() == []


def test_merge_names_the_missing_shards_and_completes_the_other_tables(toy, cache):
    whole = work(toy, cache)
    lacking = work(toy, cache, Share(0, 2), toy.description(view="flipped"))
    data = bytearray((lacking / "shard-000002.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (lacking / "shard-000002.h5").write_bytes(data)
    files = "shard-000001.h5, shard-000002.h5, shard-000003.h5"
    with pytest.raises(CacheError, match=rf"toy/text/pooled \({lacking.name}\) lacks 3 of 5 shards \({files}\)"):
        merge(cache)
    toy.check(whole, toy.inputs(20))
    assert cache.unfinished() == [lacking]
    work(toy, cache, None, toy.description(view="flipped"))
    assert [table.folder for table in merge(cache)] == [lacking]


def test_merge_of_a_plan_for_other_rows_is_refused(toy, cache):
    work(toy, cache)
    cache.write_samples(toy.samples(toy.inputs(20) | {"row-1": "edited"}))
    with pytest.raises(CacheError, match=r"planned for other rows.*clipfuse extract"):
        merge(cache)


def test_merge_of_no_cache(tmp_path):
    with pytest.raises(CacheMissing):
        merge(FeatureCache(tmp_path))
