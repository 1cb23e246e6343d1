"""Missing, extra and exchanged shards: named when they are read, made again by the next run, never believed."""

from __future__ import annotations

import shutil

import pytest

from clipfuse_cache import CacheCorrupt, FeatureTable

ROWS = 12  # three shards


def name(index):
    return f"shard-{index:06d}.h5"


def missing(folder, _others):
    (folder / name(1)).unlink()
    return {1}


def exchanged(folder, _others):
    one, two = (folder / name(index) for index in (0, 1))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    return {0, 1}


def twice_the_same(folder, _others):
    shutil.copy(folder / name(0), folder / name(1))
    return {1}


def of_another_table(folder, others):
    shutil.copy(others / "table" / name(1), folder / name(1))
    return {1}


def of_the_same_table_of_another_cache(folder, others):
    shutil.copy(others / "cache" / name(1), folder / name(1))
    return {1}


def of_the_same_rows_with_other_inputs(folder, others):
    shutil.copy(others / "edited" / name(1), folder / name(1))
    return {1}


CASES = (
    missing,
    exchanged,
    twice_the_same,
    of_another_table,
    of_the_same_table_of_another_cache,
    of_the_same_rows_with_other_inputs,
)


@pytest.fixture(scope="module")
def others(toy, tmp_path_factory):
    """Tables whose shards do not belong: other weights, other rows, the same rows with other captions."""
    folder, texts = tmp_path_factory.mktemp("others"), toy.inputs(ROWS)
    toy.extract(folder / "table", texts, toy.description(weights="cd" * 32))
    toy.extract(folder / "cache", toy.inputs(ROWS, prefix="alien"))
    toy.extract(folder / "edited", {key: text and text + "!" for key, text in texts.items()})
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_of_a_complete_table(toy, others, tmp_path, figures, case):
    folder, texts = tmp_path / "table", toy.inputs(ROWS)
    toy.extract(folder, texts)
    wrong = case(folder, others)
    for index in wrong:
        with pytest.raises(CacheCorrupt, match=f"({'|'.join(map(name, wrong))}).*clipfuse extract"):
            FeatureTable.open(folder).take([f"row-{4 * index}"])
    toy.extract(folder, {**texts, "one more": "a text"})  # which makes it look
    toy.check(folder, {**texts, "one more": "a text"})
    if case is CASES[-1]:
        figures("d. shards", f"{len(CASES)} sorts of wrong shards and an extra one, in complete and unfinished tables")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_of_an_unfinished_table(toy, others, tmp_path, case):
    folder, texts = tmp_path / "table", toy.inputs(ROWS)
    toy.extract(folder, texts)
    whole = toy.files(folder)
    toy.restore(folder, {})
    toy.extract(folder, texts, stop_after=2)
    wrong = case(folder, others)
    assert set(toy.open_writer(folder, texts).missing()) == {*wrong, 2}
    toy.extract(folder, texts)
    assert toy.files(folder) == whole


@pytest.mark.parametrize("stop_after", [None, 2])
def test_an_extra_one(toy, others, tmp_path, stop_after):
    folder, texts = tmp_path / "table", toy.inputs(ROWS)
    toy.extract(folder, texts, stop_after=stop_after)
    shutil.copy(others / "cache" / name(1), folder / name(7))
    grown = {**texts, "one more": "a text"}
    toy.extract(folder, grown)
    toy.check(folder, grown)
    assert not (folder / name(7)).exists()
    assert "alien-5" not in FeatureTable.open(folder).input_digests()
