from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse_cache.columns import Digests, OptionalStrings, Places, Strings, places_of, take
from clipfuse_cache.fingerprint import NO_DIGEST, input_digest

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
bounds = st.none() | st.integers(-8, 8)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.none() | words, max_size=8), start=bounds, end=bounds, step=st.sampled_from([None, 1, 2, -1]))
def test_a_column_is_the_sequence_that_it_was_made_of(values, start, end, step):
    texts = [text or "" for text in values]
    for column, plain in ((Strings.pack(texts), texts), (OptionalStrings.pack(values), values)):
        assert len(column) == len(plain)
        assert list(column) == plain
        assert [column[row] for row in range(-len(plain), len(plain))] == plain * 2
        assert column[start:end:step] == tuple(plain[start:end:step])
        assert column == tuple(plain) and column == type(column).pack(plain)
        assert column != [*plain, "more"] and column != type(column).pack([*plain, "more"])
        with pytest.raises(IndexError):
            column[len(plain)]
        rows = list(range(len(plain)))
        assert take(column, rows[1:]) == plain[1:] and take(column, rows[::2]) == plain[::2]


def test_more_than_one_block():
    texts = [f"é{number}" * (number % 3) for number in range(10_000)]
    assert list(Strings.pack(texts)) == texts
    assert take(Strings.pack(texts), range(5000, 9999)) == texts[5000:9999]


def test_absent_strings_are_none_and_not_empty():
    assert OptionalStrings.absent(3) == (None, None, None) == OptionalStrings.pack([None] * 3)
    assert OptionalStrings.pack(["", None]) != OptionalStrings.pack([None, ""])


def test_digests_of_strings_and_how_many_differ():
    digests = Digests.of_strings(OptionalStrings.pack(["a", None, "", "é", "a"]))
    assert digests == [input_digest(b"a"), NO_DIGEST, input_digest(b""), input_digest("é".encode()), input_digest(b"a")]
    assert digests.count_distinct() == 3
    assert Digests(np.zeros((2, 16), np.uint8)).count_distinct() == 0
    assert Digests(np.zeros((0, 16), np.uint8)).count_distinct() == 0


@settings(max_examples=60, deadline=None)
@given(names=st.lists(words, max_size=12, unique=True), asked=st.lists(words, max_size=12))
def test_places_are_those_of_a_dictionary(names, asked):
    known = {name: row for row, name in enumerate(names)}
    asked = [*asked, *names[::-1]]
    places = places_of(Strings.pack(names))
    assert places.find(asked).tolist() == [known.get(name, -1) for name in asked]
    assert places.find(names).tolist() == list(range(len(names)))
    assert [name in places for name in asked] == [name in known for name in asked]


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from("abcdef"), max_size=6))
def test_the_first_repeated_string_is_found(names):
    again = next((row for row, name in enumerate(names) if name in names[:row]), None)
    wanted = None if again is None else (names.index(names[again]), again)
    assert Places(names).first_repeated() == wanted


def test_equal_hashes_are_told_apart():
    class Clash(str):
        __slots__ = ()
        __hash__ = lambda self: 7  # noqa: E731

    names = [Clash("x"), Clash("y"), Clash("z")]
    assert Places(names).find([Clash("z"), Clash("x"), Clash("w")]).tolist() == [2, 0, -1]
    assert Places(names).first_repeated() is None
    assert Places([*names, Clash("x")]).first_repeated() == (0, 3)


@pytest.mark.parametrize(
    ("data", "offsets"),
    [
        (b"a\xff", [0, 1, 2]),
        ("é".encode(), [0, 1, 2]),  # all of it is UTF-8, and neither string is
        ("é".encode(), [0, 1, 1, 2]),
        (b"a" * 4095 + "é".encode(), [*range(4098)]),  # strings are looked at in blocks of 4,096
    ],
)
def test_strings_that_are_no_utf8_are_refused(data, offsets):
    with pytest.raises(ValueError, match="utf-8"):
        Strings.unpack(np.frombuffer(data, np.uint8), np.array(offsets, np.uint64))
