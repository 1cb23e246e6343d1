"""Files of format version 1, made on the day it was fixed. A new version gets new files; these stay readable.

``python tests/cache/test_golden.py`` makes them (never again for version 1). ``samples-numbers.h5`` came later, when
``numbers`` did: a part that older readers pass over.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from clipfuse_cache.manifest import read_manifest, read_plan, write_manifest, write_plan
from clipfuse_cache.samples import read_samples, write_samples

GOLDEN = Path(__file__).with_name("golden")


def texts(toy):
    return toy.inputs(6) | {"日本 ☃\t'": "naïve caption"}


def about(toy):
    return toy.description(tokens=2, dim=3)


def test_todays_reader_reads_the_golden_table(toy, tmp_path):
    table = toy.check(GOLDEN / "table", texts(toy))
    assert table.description == about(toy)
    assert table.manifest.rows == 7
    assert table.notes() == {
        "row-0": ("blanks removed",),
        "row-1": ("blanks removed",),
        "row-2": ("blanks removed", "truncated"),
        "row-4": ("blanks removed",),
    }
    assert [(entry.index, entry.rows, entry.valid, entry.failed) for entry in table.manifest.shards] == [
        (0, 4, 3, 0),
        (1, 3, 2, 1),
    ]
    # a value written down, so that a change of the toy encoder can't hide one of the format
    assert table.take(["row-0"]).values.tobytes().hex() == "17ba83bc98318c3a213d25bb"


def test_todays_writer_has_nothing_to_do_with_the_golden_table(toy, tmp_path):
    shutil.copytree(GOLDEN / "table", tmp_path / "table")
    before = toy.files(tmp_path / "table")
    assert toy.extract(tmp_path / "table", texts(toy), about(toy)) == []
    assert toy.files(tmp_path / "table") == before


def test_todays_writer_reproduces_manifest_and_plan(toy, tmp_path):
    write_manifest(tmp_path, read_manifest(GOLDEN / "table"))
    write_plan(tmp_path, read_plan(GOLDEN / "unfinished"))
    for name, folder in (("manifest.json", "table"), ("plan.json", "unfinished")):
        assert (tmp_path / name).read_text("utf-8") == (GOLDEN / folder / name).read_text("utf-8")
    toy.extract(tmp_path / "begun", texts(toy), about(toy), stop_after=1)
    assert (tmp_path / "begun" / "plan.json").read_bytes() == (GOLDEN / "unfinished" / "plan.json").read_bytes()


def test_todays_writer_goes_on_with_the_golden_plan(toy, tmp_path):
    shutil.copytree(GOLDEN / "unfinished", tmp_path / "table")
    assert toy.extract(tmp_path / "table", texts(toy), about(toy)) == list(texts(toy))[4:]
    toy.check(tmp_path / "table", texts(toy))


def test_todays_reader_reads_the_golden_samples(toy):
    found = read_samples(GOLDEN / "samples.h5")
    assert toy.comparable(found) == toy.comparable(toy.samples(texts(toy)))
    assert found.captions[3] is None
    assert np.packbits(found.labels).tobytes().hex() == "1a3808"


def with_numbers(toy):
    samples = toy.samples(texts(toy))
    numbers = np.array([[row / 4, np.nan if row == 2 else -row] for row in range(len(samples))])
    return replace(samples, numbers=numbers, number_names=("likes", "höhe"))


def test_todays_reader_reads_the_golden_samples_with_numbers(toy, tmp_path):
    found = read_samples(GOLDEN / "samples-numbers.h5")
    assert found == with_numbers(toy)
    assert found.numbers[1].tobytes().hex() == "000000000000d03f000000000000f0bf"


def test_samples_without_numbers_are_written_as_ever(toy, tmp_path):
    write_samples(tmp_path / "samples.h5", toy.samples(texts(toy)))
    with h5py.File(tmp_path / "samples.h5") as new, h5py.File(GOLDEN / "samples.h5") as old:
        assert dict(new.attrs) == dict(old.attrs)
        assert {name: found[()].tolist() for name, found in new.items()} == {
            name: found[()].tolist() for name, found in old.items()
        }


if __name__ == "__main__":
    import toy as toy_module

    toy_module.extract(GOLDEN / "table", texts(toy_module), about(toy_module))
    toy_module.extract(GOLDEN / "unfinished", texts(toy_module), about(toy_module), stop_after=1)
    write_samples(GOLDEN / "samples.h5", toy_module.samples(texts(toy_module)))
    write_samples(GOLDEN / "samples-numbers.h5", with_numbers(toy_module))
