from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse_cache.fingerprint import (
    DIGEST_BYTES,
    NO_DIGEST,
    canonical_json,
    difference,
    fingerprint,
    input_digest,
    rows_digest,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(st.text(max_size=4), values, max_size=5)


def test_every_field_changes_it(toy):
    original = fingerprint(toy.ENCODER)
    changed = [fingerprint({**toy.ENCODER, field: "else"}) for field in toy.ENCODER]
    removed = [fingerprint({k: v for k, v in toy.ENCODER.items() if k != field}) for field in toy.ENCODER]
    assert len({original, *changed, *removed, fingerprint({**toy.ENCODER, "more": None})}) == 2 * len(toy.ENCODER) + 2


@pytest.mark.parametrize("field", ["model", "activation", "precision", "more"])
def test_difference_names_the_field_and_both_values(toy, field):
    text = difference({**toy.ENCODER, field: "ours"}, toy.ENCODER)
    assert text.startswith(f"{field}: 'ours', not ")
    assert ";" not in text


def test_difference_shortens_long_values_and_lists_all_fields(toy):
    text = difference({**toy.ENCODER, "weights": "cd" * 32, "view": "flipped"}, toy.ENCODER)
    assert text == "view: 'flipped', not 'identity'; weights: 'cdcdcdcdcdcd…', not 'abababababab…'"


@settings(max_examples=60, deadline=None)
@given(records, records)
def test_difference_is_empty_exactly_where_fingerprints_agree(ours, theirs):
    assert (difference(ours, theirs) == "") == (fingerprint(ours) == fingerprint(theirs))
    assert difference(ours, ours) == ""


def test_difference_sees_what_json_keeps():
    assert difference({"size": (2, 3)}, {"size": [2, 3]}) == ""  # as it comes back from a manifest
    assert difference({"a": None}, {}) == "a: 'null', not absent"
    assert difference({}, {"a": None}) == "a: absent, not 'null'"
    assert difference({"a": 1}, {"a": 1.0}) != ""  # other bytes, another fingerprint


@settings(max_examples=50, deadline=None)
@given(records)
def test_canonical_json_ignores_the_order_of_keys(record):
    assert canonical_json(dict(reversed(list(record.items())))) == canonical_json(record)


def test_canonical_json_is_pinned():
    assert canonical_json({"b": [1, 2.5, None], "a": {"z": True, "é": "ü"}}) == (
        '{"a":{"z":true,"é":"ü"},"b":[1,2.5,null]}'.encode()
    )
    assert fingerprint({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


def test_row_digests():
    assert input_digest(b"x") == hashlib.sha256(b"x").digest()[:16]
    assert bytes(16) == NO_DIGEST
    assert DIGEST_BYTES == 16
    one, two = input_digest(b"1"), input_digest(b"2")
    assert rows_digest(["é"], [one]) == hashlib.sha256("é".encode() + b"\0" + one).hexdigest()
    rows = [(["a", "b"], [one, two]), (["b", "a"], [one, two]), (["a", "b"], [two, one]), (["a"], [one]), ([], [])]
    assert len({rows_digest(*row) for row in rows}) == 5
    with pytest.raises(ValueError, match="zip"):
        rows_digest(["a"], [])
