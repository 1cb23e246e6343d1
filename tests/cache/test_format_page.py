"""cache/FORMAT.md says what the code does."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import clipfuse_cache
from clipfuse_cache import FeatureTable

PAGE = (Path(__file__).parents[2] / "cache" / "FORMAT.md").read_text("utf-8")
GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(scope="module")
def read_table():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    body = code.partition('"""\n')[2].strip().splitlines()
    assert len(body) <= 10 and max(map(len, body)) <= 120
    names = {}
    exec(compile(code, "FORMAT.md", "exec"), names)
    return names["read_table"]


def same(rows, table):
    ids = list(rows)
    for name, values, valid in zip(ids, *table.take(ids), strict=True):
        assert (rows[name] is not None) == valid
        assert not valid or (rows[name].dtype == values.dtype and np.array_equal(rows[name], values))


def test_the_pages_reader_reads_the_golden_table(toy, read_table):
    rows = read_table(GOLDEN / "table")
    assert list(rows) == [*toy.inputs(6), "日本 ☃\t'"]
    same(rows, FeatureTable.open(GOLDEN / "table"))


def test_the_pages_reader_lets_the_last_shard_win_and_refuses_damage(toy, tmp_path, read_table):
    texts = toy.inputs(20)
    toy.extract(tmp_path, texts)
    toy.extract(tmp_path, texts | {"row-1": "edited", "row-3": "there now", "row-6": ""})
    same(read_table(tmp_path), FeatureTable.open(tmp_path))
    data = bytearray((tmp_path / "shard-000002.h5").read_bytes())
    data[100] ^= 1
    (tmp_path / "shard-000002.h5").write_bytes(data)
    with pytest.raises(AssertionError, match="damaged"):
        read_table(tmp_path)


def words_of(heading):
    """What stands as code in the first column of the table under a heading."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "file"),
    [("samples.h5", "samples-numbers.h5"), ("Shards", "table/shard-000000.h5")],
    ids=["samples", "shard"],
)
def test_every_dataset_and_attribute_is_described(heading, file):
    with h5py.File(io.BytesIO((GOLDEN / file).read_bytes())) as found:
        assert words_of(heading) == set(found)
        section = PAGE.split(f"\n### {heading}\n")[1]
        assert all(f"`{name}`" in section for name in found.attrs)


@pytest.mark.parametrize(
    ("heading", "file"), [("manifest.json", "table/manifest.json"), ("plan.json", "unfinished/plan.json")]
)
def test_every_key_is_described(heading, file):
    found = json.loads((GOLDEN / file).read_text("utf-8"))
    table = set(found["table"])
    assert words_of(heading) == set(found) | (table if heading == "manifest.json" else set())
    for words in (found["table"]["encoder"], *found.get("shards", [])):
        assert all(f"`{word}`" in PAGE for word in words)


def test_the_version_is_the_codes():
    assert clipfuse_cache.manifest.VERSION == clipfuse_cache.shard.VERSION == clipfuse_cache.samples.VERSION == 1
    assert "on disk, version 1" in PAGE
