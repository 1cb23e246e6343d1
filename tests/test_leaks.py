import json
from dataclasses import replace

import numpy as np
import pytest
from stage_two import every_table

from clipfuse.config import SplitConfig
from clipfuse.data.grouping import Grouping
from clipfuse.errors import CacheError
from clipfuse.leaks import describe_leaks, find_leaks
from clipfuse.splits import find_cross_validation, find_split
from clipfuse.stream_tables import StreamTables


def by_position(toy):
    """Rows 0 to 41 train, 42 to 47 validate, 48 to 59 test."""
    return find_split(toy.cache, toy.samples, SplitConfig(method="position"), None)


def doubled(toy, pictures=(), captions=()):
    """The rows whose first is to have the input of their second."""
    digests, words = toy.samples.image_digests.copy(), list(toy.samples.captions)
    for row, other in pictures:
        digests[row] = digests[other]
    for row, other in captions:
        words[row] = words[other].title()
    return toy.with_samples(image_digests=digests, captions=tuple(words))


def test_nothing_leaks(bare, add_features):
    assert find_leaks(every_table(bare), bare.samples, [by_position(bare)]) == []
    add_features(bare.cache, bare.samples, "image", features([]))
    assert find_leaks(every_table(bare), bare.samples, [by_position(bare)]) == []
    assert describe_leaks([]) == ""


def test_rows_that_were_seen_before(small):
    toy = doubled(small, pictures=[(50, 3), (51, 44), (43, 7), (12, 11)], captions=[(50, 3), (55, 9), (58, 59)])
    split = by_position(toy)
    leaks = find_leaks(StreamTables({}), toy.samples, [split])
    assert [(leak.kind, leak.role, leak.rows, leak.first) for leak in leaks] == [
        ("picture", "test", 2, ("row-050", "row-003")),
        ("caption", "test", 1, ("row-055", "row-009")),  # row 50 is counted already, 58 and 59 are both test rows
        ("picture", "validation", 1, ("row-043", "row-007")),
    ]
    assert json.loads(json.dumps([leak.to_dict() for leak in leaks]))[0]["first"] == ["row-050", "row-003"]
    line = describe_leaks(leaks)
    assert "\n" not in line
    assert "2 test rows have the picture of a training or validation row (first: row-050, like row-003)" in line
    assert "1 test row has the caption of a training or validation row word for word, as short captions" in line
    assert "1 validation row has the picture of a training row (first: row-043, like row-007)" in line


def test_rows_without_input_are_not_equal(small):
    digests = small.samples.image_digests.copy()
    digests[[0, 50, 55]] = 0
    captions = list(small.samples.captions)
    captions[1], captions[45], captions[52] = None, "", None
    toy = small.with_samples(image_digests=digests, captions=tuple(captions))
    assert find_leaks(StreamTables({}), toy.samples, [by_position(toy)]) == []


def test_near_duplicates_that_could_not_be_moved(small):
    grouping = Grouping(0.9, ("toy/image/pooled",), (("row-002", "row-049", "row-050"), ("row-043", "row-046")))
    split = replace(by_position(small), grouping=grouping)
    (leak,) = find_leaks(every_table(small), small.samples, [split])
    assert (leak.kind, leak.role, leak.rows, leak.first) == ("similar", "test", 2, ("row-049", "row-002"))
    line = describe_leaks([leak])
    assert line.startswith("2 test rows of 12 compared have a near-duplicate among the training or validation rows")
    assert line.endswith("(first: row-049, like row-002)")


@pytest.fixture
def bare(tmp_path, build_toy):
    """60 rows without features."""
    return build_toy(tmp_path / "cache", rows=60, modalities=())


def features(like, dim=40, seed=0):
    values = np.random.default_rng(seed).normal(size=(60, dim))
    for row, other in like:
        values[row] = 3 * values[other] + 0.05 * values[row]
    return values


def test_near_duplicates_are_found_without_being_asked_for(bare, add_features):
    toy = doubled(bare, pictures=[(58, 1)])
    add_features(toy.cache, toy.samples, "image", features([(50, 3), (58, 1), (43, 7), (12, 11)]), encoder="one")
    add_features(toy.cache, toy.samples, "image", features([(50, 3), (58, 1), (43, 7)], 30), encoder="other")
    add_features(toy.cache, toy.samples, "text", features([(55, 9)]))  # similar captions are often a matter of chance
    split = by_position(toy)
    leaks = find_leaks(every_table(toy), toy.samples, [split])
    assert [(leak.kind, leak.role, leak.rows, leak.first, leak.looked_at) for leak in leaks] == [
        ("picture", "test", 1, ("row-058", "row-001"), 12),
        ("similar", "test", 1, ("row-050", "row-003"), 11),
        ("similar", "validation", 1, ("row-043", "row-007"), 6),
    ]


def test_features_that_all_point_one_way_are_not_duplicates(bare, add_features):
    add_features(bare.cache, bare.samples, "image", 20 + features([(55, 9)]))
    (leak,) = find_leaks(every_table(bare), bare.samples, [by_position(bare)])
    assert (leak.rows, leak.first) == (1, ("row-055", "row-009"))


def test_captions_tell_where_there_are_no_pictures(bare, add_features):
    add_features(bare.cache, bare.samples, "text", features([(55, 9)]))
    (leak,) = find_leaks(every_table(bare), bare.samples, [by_position(bare)])
    assert (leak.kind, leak.first) == ("similar", ("row-055", "row-009"))


def test_of_very_many_rows_some_are_compared(bare, add_features):
    add_features(bare.cache, bare.samples, "image", features([(row, 3) for row in range(48, 60)]))
    (leak,) = find_leaks(every_table(bare), bare.samples, [by_position(bare)], products=4 * 48 * 40)
    assert (leak.rows, leak.looked_at, leak.first) == (4, 4, ("row-048", "row-003"))
    (leak,) = find_leaks(every_table(bare), bare.samples, [by_position(bare)], products=1)
    assert (leak.rows, leak.looked_at) == (1, 1)


def test_folds_leak_each_row_once(bare):
    toy = doubled(bare, pictures=[(row + 30, row) for row in range(30)])
    splits = find_cross_validation(toy.cache, toy.samples, 3, SplitConfig(), None)
    tested = [leak for leak in find_leaks(every_table(toy), toy.samples, splits) if leak.role == "test"]
    apart = [len(set(split.roles["test"]) & {toy.ids[row], toy.ids[row + 30]}) for split in splits for row in range(30)]
    assert [(leak.kind, leak.rows) for leak in tested] == [("picture", apart.count(1))]


def test_rows_that_the_samples_lack(small, build_toy, tmp_path):
    split = by_position(small)
    fewer = build_toy(tmp_path / "other", rows=50)
    with pytest.raises(CacheError, match="row-050"):
        find_leaks(every_table(fewer), fewer.samples, [split])
