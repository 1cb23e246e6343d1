from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from iterstrat.ml_stratifiers import IterativeStratification

from clipfuse.data.dealing import _stratify, deal
from clipfuse.errors import ConfigError

tables = st.integers(6, 40).flatmap(lambda rows: st.integers(0, 5).flatmap(lambda labels: arrays(bool, (rows, labels))))


@settings(max_examples=80, deadline=None)
@given(tables, st.integers(2, 5), st.integers(0, 1000))
def test_single_rows_are_stratified_as_the_published_implementation_does(targets, k, seed):
    shares = np.arange(1, k + 1) / sum(range(1, k + 1))
    found = _stratify(targets.astype(np.int64), np.ones(len(targets), int), shares, np.random.RandomState(seed))
    expected = IterativeStratification(targets, shares, np.random.RandomState(seed))
    assert found.tolist() == expected.tolist()


@st.composite
def grouped_tables(draw):
    targets = draw(tables)
    groups = draw(arrays(np.int64, len(targets), elements=st.integers(0, len(targets))))
    cuts = sorted(draw(st.sets(st.integers(1, len(targets) - 1), min_size=1, max_size=3)))
    return targets, groups, np.diff([0, *cuts, len(targets)]).tolist()


@settings(max_examples=150, deadline=None)
@given(grouped_tables(), st.integers(0, 1000))
def test_groups_stay_whole_and_no_single_move_brings_the_sizes_nearer(table, seed):
    targets, groups, sizes = table
    numbers, counts = np.unique(groups, return_counts=True)
    if len(numbers) < len(sizes):
        with pytest.raises(ConfigError, match="without parting a group"):
            deal(targets, sizes, seed, groups=groups)
        return
    part = deal(targets, sizes, seed, groups=groups, keep=(0,))
    filled = np.bincount(part, minlength=len(sizes))
    assert (filled > 0).all()
    assert len(filled) == len(sizes)
    missed = np.abs(filled - sizes).sum()
    for number, count in zip(numbers, counts, strict=True):
        (source,) = set(part[groups == number])
        if filled[source] == count:
            continue  # a part may not become empty
        for to in set(range(len(sizes))) - {source}:
            moved = filled.copy()
            moved[source] -= count
            moved[to] += count
            assert np.abs(moved - sizes).sum() >= missed


def test_labels_are_balanced_by_what_groups_hold():
    # Groups of 1 to 6 rows whose rows all have one of three labels.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 7, 200))
    targets = np.eye(3, dtype=bool)[rng.integers(0, 3, 200)][groups]
    part = deal(targets, [len(groups) - 2 * (len(groups) // 4)] + 2 * [len(groups) // 4], 0, groups=groups)
    for p, share in enumerate((0.5, 0.25, 0.25)):
        assert np.abs(targets[part == p].sum(axis=0) - share * targets.sum(axis=0)).max() <= 4


def test_parts_keep_a_label_in_their_order():
    targets = np.zeros((40, 3), dtype=bool)
    targets[0, 0] = targets[1:3, 1] = targets[3:6, 2] = True
    for seed in range(10):
        part = deal(targets, [8, 16, 16], seed, keep=(0, 2, 1))
        held = np.stack([targets[part == p].any(axis=0) for p in range(3)])
        assert held.tolist() == [[True, True, True], [False, False, True], [False, True, True]]


def lacking(targets, part, keep):
    """Labels that each part of ``keep`` has no row of."""
    return [set(np.flatnonzero(targets.any(axis=0) & ~targets[part == p].any(axis=0)).tolist()) for p in keep]


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 40), st.integers(1, 30), st.integers(0, 1000))
def test_no_swap_of_two_rows_would_bring_a_rare_label_where_it_should_be(rows, labels, seed):
    targets = np.random.default_rng(seed).random((rows, labels)) < 2 / rows
    keep = (0, 2, 1)
    part = deal(targets, [rows - 2 * (rows // 4), rows // 4, rows // 4], seed, keep=keep)
    before = lacking(targets, part, keep)
    for i in range(rows):
        for j in np.flatnonzero(part != part[i]).tolist():
            swapped = part.copy()
            swapped[[i, j]] = part[[j, i]]
            after = lacking(targets, swapped, keep)
            assert not (after != before and all(a <= b for a, b in zip(after, before, strict=True)))


def test_a_group_too_large_for_a_part_is_not_brought_there_for_its_label():
    groups = np.array([0] * 10 + list(range(1, 31)))
    targets = np.zeros((40, 1), dtype=bool)
    targets[[0, 10]] = True
    part = deal(targets, [34, 6], 0, groups=groups, keep=(0, 1))
    assert np.bincount(part).tolist() == [34, 6]
    assert part[0] == 0
    assert part[10] == 1


def test_a_group_goes_where_it_is_too_large_if_sizes_are_nearer_then():
    # Both large groups are dealt to the larger part, which is where the only row of each label is wanted most.
    targets = np.zeros((11, 2), dtype=bool)
    targets[0, 0] = targets[5, 1] = True
    part = deal(targets, [7, 4], 0, groups=np.array([0] * 5 + [1] * 5 + [2]))
    assert sorted(np.bincount(part).tolist()) == [5, 6]
