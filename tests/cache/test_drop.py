from __future__ import annotations

from pathlib import Path

import pytest

from clipfuse_cache import CacheError, CacheMissing, FeatureTable
from clipfuse_cache.drop import drop_table
from clipfuse_cache.manifest import read_manifest, read_plan


@pytest.mark.parametrize("stop_after", [None, 2], ids=["complete", "unfinished"])
def test_a_table_goes_and_its_bytes_are_told(toy, tmp_path, stop_after):
    folder = tmp_path / "table"
    toy.extract(folder, toy.inputs(12), stop_after=stop_after)
    size = sum(map(len, toy.files(folder).values()))
    assert drop_table(folder) == size > 0
    assert not folder.exists()


def test_killed_on_the_way_nothing_that_looks_complete_is_left(toy, tmp_path, monkeypatch):
    texts, folder = toy.inputs(12), tmp_path / "table"
    toy.extract(folder, texts)
    (folder / "plan.json").write_text("left behind")
    states, real = [], Path.unlink

    def unlink(path, **how):
        real(path, **how)
        states.append(toy.files(folder))

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr("shutil.rmtree", lambda folder: None)
    drop_table(folder)
    monkeypatch.undo()
    assert len(states) == 2
    assert "manifest.json" not in states[0] and "plan.json" in states[0]
    toy.restore(folder, states[-1])
    assert (read_manifest(folder), read_plan(folder)) == (None, None)
    with pytest.raises(CacheMissing):
        FeatureTable.open(folder)


def test_a_writer_at_work_notices(toy, tmp_path):
    texts, folder = toy.inputs(12), tmp_path / "table"
    writer = toy.open_writer(folder, texts)
    writer.begin()
    drop_table(folder)
    with pytest.raises(CacheError, match=r"plan\.json is no longer the plan"):
        writer.write(0, toy.make_shard({name: texts[name] for name in list(texts)[:4]}, writer.plan.table))
    assert not (folder / "shard-000000.h5").exists()


def test_only_tables_are_dropped(toy, tmp_path):
    toy.extract(tmp_path / "table", toy.inputs(4))
    (tmp_path / "link").symlink_to(tmp_path / "table")
    for name in ("nowhere", "link"):
        with pytest.raises(CacheMissing, match=f"{name} is not a feature table"):
            drop_table(tmp_path / name)
    assert FeatureTable.open(tmp_path / "table").manifest.rows == 4
