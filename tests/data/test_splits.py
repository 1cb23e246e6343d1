from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse.data.split import ROLES, Split
from clipfuse.data.splits import cross_validation_splits, folds, make_split, split_by_column, split_by_position
from clipfuse.errors import ConfigError, DuplicateId


def names(rows):
    return [f"row-{i:04d}" for i in range(rows)]


def deal(targets, seed=0, validation=0.2, test=0.2, **more):
    return make_split(names(len(targets)), targets, name="main", validation=validation, test=test, seed=seed, **more)


def sizes(split):
    return [len(split.roles[role]) for role in ROLES]


def skewed(rows, labels=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((rows, labels)) < np.geomspace(0.005, 0.6, labels)


tables = st.integers(10, 40).flatmap(
    lambda rows: st.integers(0, 5).flatmap(lambda labels: arrays(bool, (rows, labels)))
)


@settings(max_examples=80, deadline=None)
@given(tables, st.integers(0, 2**40), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_roles_are_disjoint_complete_exact_and_repeatable(targets, seed, validation, test):
    split = deal(targets, seed, validation, test)
    ids = names(len(targets))
    assert sorted(row for role in ROLES for row in split.roles[role]) == ids
    assert all(list(split.roles[role]) == sorted(split.roles[role]) for role in ROLES)  # the dataset's order
    held_out = [max(1, round(validation * len(ids))), max(1, round(test * len(ids)))]
    assert sizes(split) == [len(ids) - sum(held_out), *held_out]
    assert deal(targets, seed, validation, test) == split
    assert Split.from_json(split.to_json()) == split


@settings(max_examples=60, deadline=None)
@given(tables, st.integers(0, 1000))
def test_every_label_that_is_there_is_in_train_where_train_has_room(targets, seed):
    # Train has more rows than there are labels: room for a row of each.
    split = deal(targets, seed, validation=0.25, test=0.15)
    rows = [int(row[4:]) for row in split.roles["train"]]
    assert (targets[rows].any(axis=0) == targets.any(axis=0)).all()


@pytest.mark.parametrize("seed", range(5))
def test_single_positives_go_to_train_even_if_train_is_the_smallest_role(seed):
    targets = np.zeros((100, 4), dtype=bool)
    targets[[3, 50, 77, 98], [0, 1, 2, 3]] = True
    split = deal(targets, seed, validation=0.45, test=0.45)
    assert sizes(split) == [10, 45, 45]
    assert {"row-0003", "row-0050", "row-0077", "row-0098"} <= set(split.roles["train"])


@pytest.mark.parametrize("seed", range(3))
def test_each_label_keeps_its_share(seed):
    targets = skewed(2000)
    split = deal(targets, seed, validation=0.15, test=0.25)
    assert sizes(split) == [1200, 300, 500]
    total = targets.sum(axis=0)
    for role, share in zip(ROLES, (0.6, 0.15, 0.25), strict=True):
        rows = [int(row[4:]) for row in split.roles[role]]
        # At random the most frequent label alone would be off by up to 20.
        assert np.abs(targets[rows].sum(axis=0) - share * total).max() <= 3


def test_one_label_no_label_and_rows_without_labels():
    one = np.zeros((50, 1), dtype=bool)
    one[:10] = True
    split = deal(one)
    assert sizes(split) == [30, 10, 10]
    assert [sum(int(row[4:]) < 10 for row in split.roles[role]) for role in ROLES] == [6, 2, 2]
    assert sizes(deal(np.zeros((50, 3), dtype=bool))) == [30, 10, 10]
    assert sizes(deal(np.zeros((50, 0), dtype=bool))) == [30, 10, 10]
    assert sizes(deal(np.ones((50, 3), dtype=bool))) == [30, 10, 10]


def test_the_seed_decides_and_rows_are_mixed():
    targets = np.zeros((60, 2), dtype=bool)
    assert deal(targets, 1).digest != deal(targets, 2).digest
    test = {int(row[4:]) for row in deal(targets, 1).roles["test"]}
    assert test not in (set(range(12)), set(range(48, 60)))


def test_a_rows_place_does_not_decide_its_role():
    found = {0: set(), 29: set()}
    for seed in range(30):
        split = deal(np.zeros((30, 1), bool), seed)
        for row, roles in found.items():
            roles.update(role for role in ROLES if f"row-{row:04d}" in split.roles[role])
    assert found == {0: set(ROLES), 29: set(ROLES)}


def test_more_single_positives_than_train_has_room_for():
    split = deal(np.eye(10, dtype=bool), validation=0.4, test=0.4)
    assert sizes(split) == [2, 4, 4]


def test_three_rows_are_enough_and_two_are_not():
    assert sizes(deal(np.zeros((3, 1), bool))) == [1, 1, 1]
    with pytest.raises(ConfigError, match="2 rows are too few"):
        deal(np.zeros((2, 1), bool))


@pytest.mark.parametrize(("validation", "test"), [(0, 0.2), (0.2, 0), (-0.1, 0.2), (0.5, 0.5), (1, 0.1), (np.nan, 0.2)])
def test_shares_that_empty_a_role_are_refused(validation, test):
    with pytest.raises(ConfigError, match=r"share|leave"):
        deal(np.zeros((50, 1), bool), validation=validation, test=test)
    with pytest.raises(ConfigError, match=r"share|leave"):
        split_by_position(names(50), validation, test)


def test_fixed_test_rows_are_those_and_no_others():
    targets = skewed(200)
    chosen = [f"row-{i:04d}" for i in (150, 3, 77, 12)]
    split = deal(targets, validation=0.25, test=0.9, fixed_test=chosen)
    assert split.method == "test-table"
    assert split.roles["test"] == ("row-0003", "row-0012", "row-0077", "row-0150")
    assert sizes(split) == [147, 49, 4]
    assert sorted(row for role in ROLES for row in split.roles[role]) == names(200)
    assert split.fractions == {"validation": 0.25}


def test_labels_that_only_the_fixed_test_rows_have_are_no_obstacle():
    targets = np.zeros((20, 2), dtype=bool)
    targets[0, 0] = targets[9, 1] = True
    split = deal(targets, fixed_test=["row-0000"])
    assert sizes(split) == [15, 4, 1]
    assert "row-0009" in split.roles["train"]


def test_unfit_test_rows_are_refused():
    targets = np.zeros((6, 1), dtype=bool)
    with pytest.raises(ConfigError, match=r"2 test ids .*: x, y"):
        deal(targets, fixed_test=["y", "x", "row-0001"])
    with pytest.raises(ConfigError, match="empty"):
        deal(targets, fixed_test=[])
    with pytest.raises(DuplicateId, match="row-0001"):
        deal(targets, fixed_test=["row-0001", "row-0001"])
    with pytest.raises(ConfigError, match="too few"):
        deal(targets, fixed_test=names(6)[1:])
    with pytest.raises(ConfigError, match="too few"):
        deal(targets, fixed_test=names(6))


def test_unfit_rows_are_refused():
    with pytest.raises(DuplicateId, match="'b'"):
        make_split(["a", "b", "b"], np.zeros((3, 1)), name="main", validation=0.2, test=0.2, seed=0)
    with pytest.raises(ValueError, match="targets"):
        make_split(["a", "b", "c"], np.zeros((4, 1)), name="main", validation=0.2, test=0.2, seed=0)
    with pytest.raises(ConfigError, match="seed"):
        deal(np.zeros((9, 1)), seed=-1)
    with pytest.raises(ConfigError, match="name"):
        make_split(["a", "b", "c"], np.zeros((3, 1)), name="", validation=0.2, test=0.2, seed=0)


def test_split_by_column():
    values = ["train", "VAL", "valid", "Validation", "dev", " test ", "Train", "TEST"]
    split = split_by_column(list("abcdefgh"), values)
    assert split.roles == {"train": ("a", "g"), "validation": ("b", "c", "d", "e"), "test": ("f", "h")}
    assert (split.method, split.seed, split.fractions) == ("column", None, {})


def test_unfit_columns_are_refused():
    with pytest.raises(ConfigError, match=r"'holdout' \(2 rows\), '' \(1 rows\)"):
        split_by_column(list("abcdef"), ["train", "val", "test", "holdout", "", "holdout"])
    with pytest.raises(ConfigError, match="no validation rows"):
        split_by_column(list("ab"), ["train", "test"])
    with pytest.raises(DuplicateId):
        split_by_column(list("aba"), ["train", "test", "val"])
    with pytest.raises(ValueError, match="values"):
        split_by_column(list("abc"), ["train", "test"])


def test_split_by_position():
    split = split_by_position(names(10), 0.2, 0.3)
    assert split.roles == {
        "train": tuple(names(10)[:5]),
        "validation": tuple(names(10)[5:7]),
        "test": tuple(names(10)[7:]),
    }
    assert (split.method, split.seed) == ("position", None)
    with pytest.raises(DuplicateId):
        split_by_position(["a", "a", "b"], 0.3, 0.3)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 30).flatmap(lambda rows: st.integers(0, 4).flatmap(lambda labels: arrays(bool, (rows, labels)))),
    st.integers(2, 8),
    st.integers(0, 100),
)
def test_folds_hold_every_row_out_once(targets, k, seed):
    pairs = folds(targets, k, seed)
    rows = len(targets)
    assert len(pairs) == min(k, rows)
    assert sorted(np.concatenate([held_out for _, held_out in pairs]).tolist()) == list(range(rows))
    for train, held_out in pairs:
        assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(rows))
        assert rows // len(pairs) <= len(held_out) <= rows // len(pairs) + 1
    again = folds(targets, k, seed)
    assert all((a[1] == b[1]).all() for a, b in zip(pairs, again, strict=True))


def test_folds_keep_each_labels_share():
    targets = skewed(1000)
    for train, held_out in folds(targets, 5, 0):
        assert len(held_out) == 200
        assert np.abs(targets[held_out].sum(axis=0) - targets.sum(axis=0) / 5).max() <= 2
        assert targets[train].any(axis=0).all()
    assert not np.array_equal(folds(targets, 5, 0)[0][1], folds(targets, 5, 1)[0][1])


@pytest.mark.parametrize(("rows", "k"), [(0, 5), (1, 5), (9, 1), (9, 0)])
def test_folds_need_two_of_each(rows, k):
    with pytest.raises(ConfigError, match="at least 2"):
        folds(np.zeros((rows, 2), bool), k, 0)
    with pytest.raises(ValueError, match="targets"):
        folds(np.zeros(9, bool), 3, 0)


def grouped(rows, seed=0, share=0.5, largest=4):
    """Group numbers in which about ``share`` of the rows have company."""
    rng = np.random.default_rng(seed)
    number = np.arange(rows)
    for row in np.flatnonzero(rng.random(rows) < share):
        number[row] = number[max(0, row - rng.integers(1, largest))]
    return rng.permutation(rows)[number]


def whole(groups, parts):
    """Whether no group has rows in two parts."""
    part_of = np.full(len(groups), -1)
    for part, rows in enumerate(parts):
        part_of[rows] = part
    return all(len(set(part_of[groups == group])) == 1 for group in set(groups.tolist()))


def rows_of(split):
    return [[int(row[4:]) for row in split.roles[role]] for role in ROLES]


@settings(max_examples=40, deadline=None)
@given(tables, st.integers(0, 1000))
def test_groups_are_of_one_role(targets, seed):
    groups = grouped(len(targets), seed, share=0.3, largest=2)
    split = deal(targets, seed, groups=groups)
    assert sorted(row for role in ROLES for row in split.roles[role]) == names(len(targets))
    assert whole(groups, rows_of(split))
    assert deal(targets, seed, groups=groups) == split


@pytest.mark.parametrize("seed", range(3))
def test_grouped_rows_are_stratified_as_well(seed):
    targets, groups = skewed(2000), grouped(2000, seed)
    split = deal(targets, seed, validation=0.15, test=0.25, groups=groups)
    assert sizes(split) == [1200, 300, 500]
    assert whole(groups, rows_of(split))
    for rows, share in zip(rows_of(split), (0.6, 0.15, 0.25), strict=True):
        assert np.abs(targets[rows].sum(axis=0) - share * targets.sum(axis=0)).max() <= 4


@settings(max_examples=60, deadline=None)
@given(arrays(np.int8, st.integers(10, 40), elements=st.integers(0, 5)), st.integers(0, 1000))
def test_a_label_of_three_rows_or_more_is_in_every_role(label, seed):
    # At most one label a row, so that no row is needed twice; more rows in each role than there are labels.
    targets = np.eye(6, dtype=bool)[np.concatenate([label, np.zeros(30, np.int8)])][:, 1:]
    split = deal(targets, seed, validation=0.3, test=0.3)
    for rows in rows_of(split):
        assert targets[rows].any(axis=0)[targets.sum(axis=0) >= 3].all()


def test_the_second_row_of_a_label_is_a_test_row():
    for seed in range(5):
        targets = np.zeros((50, 4), dtype=bool)
        targets[np.arange(8), np.arange(8) % 4] = True
        train, _, test = rows_of(deal(targets, seed, validation=0.4, test=0.2))
        assert targets[train].any(axis=0).all()
        assert targets[test].any(axis=0).all()


def test_groups_of_fixed_test_rows_do_not_move_them():
    groups = np.repeat(np.arange(10), 4)
    split = deal(np.zeros((40, 1), bool), validation=0.25, fixed_test=["row-0000", "row-0005"], groups=groups)
    assert split.roles["test"] == ("row-0000", "row-0005")
    assert whole(np.delete(groups, [0, 5]), [np.searchsorted(np.delete(np.arange(40), [0, 5]), rows_of(split)[0])])


def test_groups_that_can_not_be_dealt():
    with pytest.raises(ConfigError, match="9 rows in 2 groups can't be dealt into 3 parts"):
        deal(np.zeros((9, 1), bool), groups=[0] * 4 + [1] * 5)
    with pytest.raises(ValueError, match="groups"):
        deal(np.zeros((9, 1), bool), groups=[0, 1])


@settings(max_examples=40, deadline=None)
@given(tables, st.integers(2, 6), st.integers(0, 100))
def test_folds_hold_groups_out_whole(targets, k, seed):
    groups = grouped(len(targets), seed)
    pairs = folds(targets, k, seed, groups=groups)
    assert len(pairs) == min(k, len(set(groups.tolist())))
    assert sorted(np.concatenate([held_out for _, held_out in pairs]).tolist()) == list(range(len(targets)))
    assert whole(groups, [held_out for _, held_out in pairs])


def test_folds_need_two_groups():
    with pytest.raises(ConfigError, match="2 groups of rows; there are 3 and 1"):
        folds(np.zeros((5, 1), bool), 3, 0, groups=[7] * 5)


@settings(max_examples=30, deadline=None)
@given(tables, st.integers(2, 5), st.booleans())
def test_cross_validation_tests_each_row_once(targets, k, together):
    ids = names(len(targets))
    groups = grouped(len(targets), share=0.3, largest=2) if together else None
    splits = cross_validation_splits(ids, targets, k, name="cv", validation=0.2, seed=3, groups=groups)
    assert [split.name for split in splits] == [f"cv-{i}-of-{k}" for i in range(1, k + 1)]
    assert sorted(row for split in splits for row in split.roles["test"]) == ids
    for split in splits:
        assert sorted(row for role in ROLES for row in split.roles[role]) == ids
        assert split.method == "cross-validation"
        assert Split.from_json(split.to_json()) == split
        assert groups is None or whole(groups, rows_of(split))
        rest = len(ids) - len(split.roles["test"])
        assert groups is not None or len(split.roles["validation"]) == max(1, round(0.2 * rest))


def test_cross_validation_needs_a_group_a_split():
    with pytest.raises(ConfigError, match="4 rows in 2 groups are too few for 3 splits"):
        cross_validation_splits(
            names(4), np.zeros((4, 1), bool), 3, name="cv", validation=0.2, seed=0, groups=[0, 0, 1, 1]
        )
    with pytest.raises(ValueError, match="targets"):
        cross_validation_splits(names(4), np.zeros((3, 1), bool), 2, name="cv", validation=0.2, seed=0)
