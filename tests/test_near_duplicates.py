from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clipfuse.near_duplicates as near_duplicates
from clipfuse.near_duplicates import Readable, connect_similar, connected, first_similar
from clipfuse_cache import Features


def table(rows, dim, seed, dtype=np.float16, missing=0.1, noise=0.2):
    """Rows about a few centres, so that some are similar and some are not."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(max(1, rows // 3), dim))[rng.integers(0, max(1, rows // 3), rows)]
    values = values + noise * rng.normal(size=(rows, dim)) * rng.random((rows, 1))
    valid = rng.random(rows) >= missing
    return Features((values * valid[:, None] * 3)[:, None].astype(dtype), valid)


def cosines(features):
    """Every pair's, in float64."""
    values = features.values[:, 0].astype(np.float64)
    length = np.linalg.norm(values, axis=1)
    return values @ values.T / np.maximum(np.outer(length, length), 1e-30), features.valid & (length > 0)


def readable(features):
    return [Readable.of(one) for one in features]


def brute_force(tables, similarity):
    """Pairs by a look at each, and how near any cosine comes to the cut."""
    found, there = cosines(tables[0])
    similar, nearest = (found >= similarity) & there & there[:, None], np.abs(found - similarity).min()
    for other in tables[1:]:
        found, there = cosines(other)
        similar &= (found >= similarity) | ~(there & there[:, None])
        nearest = min(nearest, np.abs(found - similarity).min())
    return {tuple(pair) for pair in np.argwhere(np.triu(similar, 1)).tolist()}, nearest


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 3),
    st.integers(0, 1000),
    st.sampled_from([0.5, 0.9, 0.97]),
    st.sampled_from([1, 7, 16, 100]),
)
def test_the_search_is_exact_whatever_the_tile(rows, tables, seed, similarity, tile):
    features = [table(rows, 5 + i, seed + i, np.float16 if i else np.float32) for i in range(tables)]
    pairs, nearest = brute_force(features, similarity)
    if nearest < 1e-5:
        return  # float32 may see it otherwise
    for held in (near_duplicates.HELD, 4 * 6 * 9):
        found = connect_similar(readable(features), similarity, tile=tile, held=held)
        assert found.shape == (len(pairs), 2)
        assert {tuple(pair) for pair in found.tolist()} == pairs
        left, right = (np.arange(rows)[part::2] for part in (0, 1))
        sides = ([one.rows(side) for one in readable(features)] for side in (left, right))
        others = first_similar(*sides, similarity, tile=tile, held=held).tolist()
        first = {row: right[other] for row, other in zip(left.tolist(), others, strict=True) if other >= 0}
        across = {tuple(sorted(pair)) for pair in pairs if sum(pair) % 2}
        assert {tuple(sorted(pair)) for pair in first.items()} <= across
        assert all(other == min(sum(pair) - row for pair in across if row in pair) for row, other in first.items())
        assert set(first) == {row for pair in across for row in pair if row % 2 == 0}


def test_very_many_pairs_are_reduced_without_parting_a_group(monkeypatch):
    features = [table(200, 6, 0, missing=0, noise=0.05)]
    whole = connect_similar(readable(features), 0.9)
    monkeypatch.setattr(near_duplicates, "_EDGES", 50)
    monkeypatch.setattr(near_duplicates, "_CHECKED", 10)
    few = connect_similar(readable(features), 0.9, tile=16)
    assert len(few) < len(whole)
    assert same_groups(connected(few, 200), connected(whole, 200))


def same_groups(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def test_rows_of_zeros_and_rows_that_are_not_there_are_like_nothing():
    values = np.ones((4, 1, 3), np.float16)
    values[1] = 0
    found = connect_similar(readable([Features(values, np.array([True, True, False, True]))]), 0.5)
    assert found.tolist() == [[0, 3]]


def test_large_and_tiny_half_precision_numbers():
    values = np.array([[[60000.0] * 40], [[30000.0] * 40], [[6e-8] * 40]], np.float16)
    assert len(connect_similar(readable([Features(values, np.ones(3, bool))]), 0.99)) == 3


def test_chains_are_one_group():
    found = connected(np.array([[0, 1], [1, 4], [2, 3]]), 6)
    assert same_groups(found, np.array([0, 0, 1, 1, 0, 2]))
    assert len(set(connected(np.zeros((0, 2), np.int64), 3).tolist())) == 3


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_a_pair(rows):
    assert connect_similar(readable([table(rows, 3, 0)]), 0.9).shape == (0, 2)
