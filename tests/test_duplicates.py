"""Which rows are kept together, from caches with planted duplicates."""

import numpy as np
import pytest

from clipfuse.duplicates import group_duplicates, tables_to_compare
from clipfuse.errors import ConfigError


def features(rows, dim, seed, like=()):
    values = np.random.default_rng(seed).normal(size=(rows, dim))
    for row, other in like:
        values[row] = 2 * values[other]
    return values


@pytest.fixture
def bare(tmp_path, build_toy):
    """60 rows without features."""
    return build_toy(tmp_path / "cache", rows=60, modalities=())


def found(toy, similarity=0.9):
    ids = list(toy.ids)
    return [
        [ids.index(name) for name in group] for group in group_duplicates(toy.cache, toy.samples, similarity).groups
    ]


def test_equal_inputs_and_similar_features_are_joined_into_chains(bare, add_features):
    digests, captions = bare.samples.image_digests.copy(), list(bare.samples.captions)
    digests[9], captions[4] = digests[2], captions[9].upper()
    toy = bare.with_samples(image_digests=digests, captions=tuple(captions))
    add_features(toy.cache, toy.samples, "image", features(60, 40, 0, like=[(20, 4)]))
    add_features(toy.cache, toy.samples, "text", features(60, 30, 1, like=[(33, 20), (50, 51)]))
    grouping = group_duplicates(toy.cache, toy.samples, 0.9)
    assert found(toy) == [[2, 4, 9, 20, 33], [50, 51]]
    assert grouping.tables == ("toy/image/pooled", "toy/text/pooled")
    assert grouping.similarity == 0.9


def test_encoders_of_a_modality_must_agree(bare, add_features):
    add_features(bare.cache, bare.samples, "image", features(60, 40, 0, like=[(1, 2), (5, 6)]), encoder="one")
    add_features(bare.cache, bare.samples, "image", features(60, 30, 1, like=[(1, 2), (8, 9)]), encoder="other")
    assert found(bare) == [[1, 2]]


def test_one_table_an_encoder_is_looked_at(bare, add_features, build_toy, tmp_path):
    for output in ("cls", "pooled", "last"):
        add_features(bare.cache, bare.samples, "image", features(60, 40, 0), encoder="one", output=output)
    add_features(bare.cache, bare.samples, "image", features(60, 8, 0), encoder="two", output="last")
    add_features(bare.cache, bare.samples, "text", features(60, 8, 0))
    names = [table.description.name for table in tables_to_compare(bare.cache, bare.samples, "image")]
    assert names == ["two/image/last", "one/image/pooled"]


def test_a_table_of_other_pictures_is_not_looked_at(bare, add_features):
    add_features(bare.cache, bare.samples, "image", features(60, 40, 0, like=[(1, 2)]))
    digests = bare.samples.image_digests.copy()
    digests[0] += 1
    assert found(bare) == [[1, 2]]
    changed = bare.with_samples(image_digests=digests)
    assert tables_to_compare(changed.cache, changed.samples, "image") == []
    assert found(changed) == []


def test_rows_that_are_all_alike(bare, add_features):
    add_features(bare.cache, bare.samples, "image", 5 + features(60, 40, 0))
    with pytest.raises(ConfigError, match=r"60 of 60 rows fall into one group .* of 0\.9.*duplicate_similarity"):
        found(bare)
    assert found(bare, 0.999) == []
