"""Splits beside a cache: made once, used again, and made anew where they no longer fit."""

import json

import numpy as np
import pytest
from stage_two import every_table

from clipfuse.config import SplitConfig
from clipfuse.errors import CacheCorrupt, CacheError, ConfigError
from clipfuse.leaks import find_leaks
from clipfuse.splits import find_cross_validation, find_split, read_split


def find(toy, table=None, **settings):
    return find_split(toy.cache, toy.samples, SplitConfig(**settings), table)


def files(toy):
    return sorted(path.name for path in toy.cache.splits.glob("*"))


def test_a_split_is_kept_and_used_again(small):
    first = find(small)
    assert files(small) == ["stratified-v0.1-t0.2-s0.json"]
    kept = (small.cache.splits / "stratified-v0.1-t0.2-s0.json").read_bytes()
    assert find(small) == first == read_split(small.cache.splits / "stratified-v0.1-t0.2-s0.json")
    assert (small.cache.splits / "stratified-v0.1-t0.2-s0.json").read_bytes() == kept
    assert {role: len(ids) for role, ids in first.roles.items()} == {"train": 42, "validation": 6, "test": 12}
    assert sorted(name for ids in first.roles.values() for name in ids) == sorted(small.ids)


def test_other_settings_are_another_split(small):
    names = {find(small).name, find(small, seed=1).name, find(small, test=0.3).name, find(small, validation=0.2).name}
    assert len(names) == len(files(small)) == 4
    assert find(small, seed=1).digest != find(small).digest


def test_corrected_labels_leave_a_stratified_split_alone(small):
    first = find(small)
    assert find(small.with_samples(labels=~small.samples.labels)) == first


def test_other_rows_get_a_split_of_their_own(small, tmp_path, build_toy):
    first = find(small)
    more = build_toy(tmp_path / "cache", rows=70)
    second = find(more)
    assert second.name == "stratified-v0.1-t0.2-s0-2"
    assert len({name for ids in second.roles.values() for name in ids}) == 70
    assert find(more) == second
    assert find(small.with_samples()) == first


def test_by_position(small):
    split = find(small, method="position")
    assert [*split.roles["train"], *split.roles["validation"], *split.roles["test"]] == list(small.ids)
    order = np.arange(60)[::-1]
    turned = small.with_samples(ids=small.ids[::-1], labels=small.samples.labels[order])
    assert find(turned, method="position").roles["test"] == turned.ids[-12:]


def test_by_column(small):
    values = ["train"] * 40 + ["dev"] * 10 + ["test"] * 10
    split = find(small.with_samples(splits=tuple(values)), method="column")
    assert split.roles["test"] == small.ids[50:]
    assert split.method == "column"


def test_a_column_that_was_changed_is_read_again(small):
    values = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    find(small.with_samples(splits=tuple(values)), method="column")
    again = find(small.with_samples(splits=tuple(values[::-1])), method="column")
    assert again.roles["test"] == small.ids[:10]
    assert again.name == "column-2"


def test_without_a_column(small):
    with pytest.raises(ConfigError, match=r"no split column.*--split-column"):
        find(small, method="column")
    assert not files(small)


def with_second_table(toy, names, first=45):
    places = np.array([0] * first + [1] * (60 - first), np.uint16)
    return toy.with_samples(tables=names, table_of=places)


@pytest.mark.parametrize("names", [("train.csv", "test.csv"), ("data.csv", "data.csv")])
def test_the_rows_of_the_second_table_are_the_test_rows(small, names):
    two = with_second_table(small, names)
    for split in (find(two), find(two, names[1])):
        assert split.roles["test"] == small.ids[45:]
        assert split.method == "test-table"
        assert len(split.roles["validation"]) == round(0.1 * 45)
    assert files(two) == ["test-table-v0.1-s0.json"]


def test_a_second_table_that_grew_is_another_split(small):
    assert find(with_second_table(small, ("a.csv", "b.csv"))).roles["test"] == small.ids[45:]
    moved = find(with_second_table(small, ("a.csv", "b.csv"), first=30))
    assert moved.roles["test"] == small.ids[30:]


@pytest.mark.parametrize("table", ["other.csv", "train.csv"])
def test_a_test_table_that_is_not_in_the_cache(small, table):
    with pytest.raises(ConfigError, match=rf"rows of {table} are not in .*--test-table {table}"):
        find(small, table)


def test_an_unlabelled_table(small):
    with pytest.raises(ConfigError, match=r"unlabelled.*--label-column"):
        find(small.with_samples(labels=None, label_names=()))


def test_shares_that_leave_nothing(small):
    with pytest.raises(ConfigError):
        find(small, validation=0.5, test=0.5)
    assert not files(small)


def test_a_kept_split_that_was_changed_by_hand(small):
    find(small)
    (path,) = small.cache.splits.glob("*.json")
    content = json.loads(path.read_text())
    content["roles"]["train"].append(content["roles"]["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(CacheCorrupt, match=r"changed by hand"):
        find(small)


def test_a_split_that_is_not_there(tmp_path):
    with pytest.raises(CacheError, match=r"can't read .*nothing\.json"):
        read_split(tmp_path / "nothing.json")


@pytest.fixture
def bare(tmp_path, build_toy):
    """60 rows without features: those of a toy are all alike."""
    return build_toy(tmp_path / "bare", rows=60, modalities=())


def with_doubles(toy):
    """Ten pairs of rows with one picture."""
    digests = toy.samples.image_digests.copy()
    digests[10:20] = digests[30:40]
    return toy.with_samples(image_digests=digests)


def test_duplicates_are_kept_on_one_side(bare):
    toy = with_doubles(bare)
    assert find_leaks(every_table(toy), toy.samples, [find(toy)])
    split = find(toy, group_duplicates=True)
    assert split.name == "stratified-v0.1-t0.2-s0-grouped0.9"
    assert {role: len(ids) for role, ids in split.roles.items()} == {"train": 42, "validation": 6, "test": 12}
    assert find_leaks(every_table(toy), toy.samples, [split]) == []
    pairs = set(zip(toy.ids[10:20], toy.ids[30:40], strict=True))
    assert pairs <= {group for group in split.grouping.groups if len(group) == 2}
    assert find(toy, group_duplicates=True) == split == read_split(toy.cache.splits / f"{split.name}.json")
    assert find(toy, group_duplicates=True, duplicate_similarity=0.99).name != split.name


def test_duplicates_of_given_test_rows_stay_where_they_are(bare):
    two = with_second_table(with_doubles(bare), ("a.csv", "b.csv"), first=30)
    split = find(two, group_duplicates=True)
    assert split.roles["test"] == two.ids[30:]
    assert split.name == "test-table-v0.1-s0-grouped0.9"
    leaks = find_leaks(every_table(two), two.samples, [split])
    assert [(leak.kind, leak.role, leak.rows) for leak in leaks] == [("picture", "test", 10)]
    one = two.with_samples(tables=("a.csv",), table_of=0 * two.samples.table_of)
    assert find(one, method="position", group_duplicates=True).grouping == split.grouping


def test_cross_validation_splits_are_kept_and_used_again(small):
    splits = find_cross_validation(small.cache, small.samples, 4, SplitConfig(), None)
    assert files(small) == [f"cross-validation-4-v0.1-s0-{n}-of-4.json" for n in (1, 2, 3, 4)]
    assert sorted(name for split in splits for name in split.roles["test"]) == sorted(small.ids)
    assert find_cross_validation(small.cache, small.samples, 4, SplitConfig(), None) == splits
    corrected = small.with_samples(labels=~small.samples.labels)
    assert find_cross_validation(corrected.cache, corrected.samples, 4, SplitConfig(), None) == splits
    (small.cache.splits / files(small)[1]).unlink()
    again = find_cross_validation(small.cache, small.samples, 4, SplitConfig(), None)
    assert again[0].name == "cross-validation-4-v0.1-s0-2-1-of-4"


def test_cross_validation_leaves_the_test_rows_alone(bare):
    two = with_second_table(with_doubles(bare), ("a.csv", "b.csv"))
    column = bare.with_samples(splits=tuple(["train"] * 40 + ["val"] * 5 + ["test"] * 15))
    for toy in (two, column):
        splits = find_cross_validation(toy.cache, toy.samples, 3, SplitConfig(group_duplicates=True), None)
        for split in splits:
            assert sorted(name for ids in split.roles.values() for name in ids) == sorted(toy.ids[:45])
        assert len({name for split in splits for name in split.roles["test"]}) == 45
        assert not any(find_leaks(every_table(toy), toy.samples, [split]) for split in splits)


@pytest.mark.parametrize("k", [1, 61])
def test_cross_validation_of_too_few_rows(small, k):
    with pytest.raises(ConfigError, match=r"2 folds|too few"):
        find_cross_validation(small.cache, small.samples, k, SplitConfig(), None)
    assert not files(small)
