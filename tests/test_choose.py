from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse.choose import choose

cells = st.sampled_from([0.0, 0.2, 0.5, 1.0]) | st.floats(0, 1)
tables = st.tuples(st.integers(0, 8), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(arrays(np.float64, shape, elements=cells), arrays(np.float64, shape[1], elements=cells))
)


@settings(max_examples=80, deadline=None)
@given(tables)
def test_only_empty_rows_are_given_a_label_and_that_their_most_probable(table):
    probabilities, thresholds = table
    plain = choose(probabilities, thresholds)
    assert np.array_equal(plain, probabilities >= thresholds)
    filled = choose(probabilities, thresholds, empty_rows="most-probable")
    assert filled.any(axis=1).all()
    for row, before, after in zip(probabilities, plain, filled, strict=True):
        if before.any():
            assert np.array_equal(before, after)
        else:
            assert after.sum() == 1
            assert row[after] == row.max()


def test_of_equal_probabilities_the_first_label():
    assert choose(np.array([[0.1, 0.3, 0.3]]), 0.5, empty_rows="most-probable").tolist() == [[False, True, False]]


def test_half_and_single_precision_are_not_rounded_toward_the_threshold():
    just_below = np.array([[0.7]], dtype=np.float32)  # 0.699999988…
    assert not choose(just_below, 0.7).any()
    assert not choose(just_below, [0.7]).any()


def test_no_labels():
    assert choose(np.zeros((3, 0)), 0.5, empty_rows="most-probable").shape == (3, 0)


def test_unfit_arguments_are_refused():
    with pytest.raises(ValueError, match="one number or 2"):
        choose(np.zeros((1, 2)), [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="thresholds"):
        choose(np.zeros((1, 2)), np.nan)
    with pytest.raises(ValueError, match="empty_rows"):
        choose(np.zeros((1, 2)), 0.5, empty_rows="none")
