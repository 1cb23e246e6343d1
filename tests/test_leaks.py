import json
from dataclasses import replace

import pytest

from clipfuse.config import SplitConfig
from clipfuse.data.grouping import Grouping
from clipfuse.errors import CacheError
from clipfuse.leaks import describe_leaks, find_leaks
from clipfuse.splits import find_split


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


def test_nothing_leaks(small):
    assert find_leaks(small.samples, by_position(small)) == []
    assert describe_leaks([]) == ""


def test_rows_that_were_seen_before(small):
    toy = doubled(small, pictures=[(50, 3), (51, 44), (43, 7), (12, 11)], captions=[(50, 3), (55, 9), (58, 59)])
    split = by_position(toy)
    leaks = find_leaks(toy.samples, split)
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
    assert find_leaks(toy.samples, by_position(toy)) == []


def test_near_duplicates_that_could_not_be_moved(small):
    grouping = Grouping(0.9, ("toy/image/pooled",), (("row-002", "row-049", "row-050"), ("row-043", "row-046")))
    split = replace(by_position(small), grouping=grouping)
    (leak,) = find_leaks(small.samples, split)
    assert (leak.kind, leak.role, leak.rows, leak.first) == ("similar", "test", 2, ("row-049", "row-002"))
    assert "2 test rows have a near-duplicate among the training or validation rows (first: row-049" in describe_leaks(
        [leak]
    )


def test_rows_that_the_samples_lack(small, build_toy, tmp_path):
    split = by_position(small)
    fewer = build_toy(tmp_path / "other", rows=50)
    with pytest.raises(CacheError, match="row-050"):
        find_leaks(fewer.samples, split)
