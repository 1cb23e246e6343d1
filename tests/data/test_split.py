from __future__ import annotations

import json

import pytest

from clipfuse.data.grouping import Grouping
from clipfuse.data.split import Split
from clipfuse.errors import CacheCorrupt


def example(**more):
    parts = {"name": "main", "method": "stratified", "seed": 3, "fractions": {"test": 0.25}}
    parts["roles"] = {"train": ("a", "ü"), "validation": ("b",), "test": ("c",)}
    return Split(**(parts | more))


def test_the_digest_is_that_of_the_sets():
    digest = example().digest
    assert len(digest) == 64
    assert example(seed=4, name="other", method="position", fractions={}).digest == digest
    assert example(roles={"test": ("c",), "validation": ("b",), "train": ("ü", "a")}).digest == digest
    assert example(roles={"train": ("a", "ü"), "validation": ("c",), "test": ("b",)}).digest != digest
    assert example(roles={"train": ("a",), "validation": ("b", "ü"), "test": ("c",)}).digest != digest


def test_the_file_is_the_same_whenever_it_is_written():
    split = example(roles={"test": ("c",), "validation": ("b",), "train": ("a", "ü\ud800")})
    assert split.to_json() == example(roles={"train": ("a", "ü\ud800"), "validation": ("b",), "test": ("c",)}).to_json()
    assert Split.from_json(split.to_json()) == split
    assert Split.from_json(split.to_json()).to_json() == split.to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 3}, "version 3"),
        ({"version": True}, "version"),
        ({"version": None}, "version"),
        ({"extra": 1}, "keys"),
        ({"name": ""}, "name"),
        ({"name": 4}, "name"),
        ({"method": "luck"}, "method"),
        ({"method": []}, "method"),
        ({"seed": 1.5}, "seed"),
        ({"fractions": {"test": 2}}, "fractions"),
        ({"fractions": []}, "fractions"),
        ({"roles": {"train": ["a"], "validation": ["b", "b"], "test": ["c"]}}, "twice in validation"),
        ({"roles": {"train": ["a"], "validation": ["b"], "test": ["a"]}}, "in train and test"),
        ({"roles": {"train": ["a"], "validation": ["b"]}}, "roles"),
        ({"roles": {"train": ["a"], "validation": ["b"], "test": []}}, "no test rows"),
        ({"roles": {"train": ["a"], "validation": ["b"], "test": [3]}}, "not a string"),
        ({"roles": {"train": ["a"], "validation": ["b"], "test": "c"}}, "list"),
        ({"roles": ["a"]}, "list"),
        ({"roles": {"train": ["a"], "validation": ["b"], "test": ["c"]}}, "digest"),
        ({"digest": "0"}, "digest"),
    ],
)
def test_another_content_is_corrupt(change, words):
    content = json.loads(example().to_json()) | change
    with pytest.raises(CacheCorrupt, match=words):
        Split.from_json(json.dumps(content).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"3", b"[" * 100_000])
def test_what_is_not_json_is_corrupt(content):
    with pytest.raises(CacheCorrupt):
        Split.from_json(content)


def test_a_split_of_overlapping_roles_can_not_be_made():
    with pytest.raises(ValueError, match="in train and test"):
        example(roles={"train": ("a",), "validation": ("b",), "test": ("a",)})


GROUPING = Grouping(0.9, ("clip/image/projected",), (("a", "ü"),))


def test_what_was_kept_together_is_told():
    grouped = example(grouping=GROUPING)
    assert Split.from_json(grouped.to_json()) == grouped != example()
    assert grouped.digest == example().digest  # the same rows in the same roles: the same scores
    assert grouped.grouping.of(["c", "ü", "b", "a"]).tolist() == [1, 0, 3, 0]


def test_a_split_without_groups_is_the_file_that_it_always_was():
    content = json.loads(example().to_json())
    assert set(content) == {"version", "name", "method", "seed", "fractions", "roles", "digest"}
    assert content["version"] == 1
    assert json.loads(example(grouping=GROUPING).to_json())["version"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, "keys"),
        ({"grouping": None}, "grouping"),
        ({"grouping": {"similarity": 0.9}}, "grouping"),
        ({"grouping": {"similarity": 2, "tables": [], "groups": []}}, "similarity"),
        ({"grouping": {"similarity": 0.9, "tables": "a", "groups": []}}, "names of tables"),
        ({"grouping": {"similarity": 0.9, "tables": [], "groups": [["a", 3]]}}, "lists of ids"),
        ({"grouping": {"similarity": 0.9, "tables": [], "groups": [["a"]]}}, "two rows"),
        ({"grouping": {"similarity": 0.9, "tables": [], "groups": [["a", "b"], ["b", "c"]]}}, "two groups"),
    ],
)
def test_another_grouping_is_corrupt(change, words):
    content = json.loads(example(grouping=GROUPING).to_json()) | change
    with pytest.raises(CacheCorrupt, match=words):
        Split.from_json(json.dumps(content).encode())
