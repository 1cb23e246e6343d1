from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipfuse.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    label_calibration_errors,
    log_loss,
)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def logit(probabilities):
    return np.log(probabilities) - np.log1p(-probabilities)


def drawn(rows=4000, labels=5, seed=0, slopes=1.0, offsets=0.0):
    """Rows whose true probabilities are sigmoid(slope * logit(told) + offset), and what was told."""
    rng = np.random.default_rng(seed)
    told = rng.normal(-1, 2, (rows, labels))
    return sigmoid(told), rng.random((rows, labels)) < sigmoid(slopes * told + offsets)


@pytest.mark.parametrize("slope", [0.25, 1.0, 3.0])
def test_the_temperature_is_found(slope):
    fitted = fit_calibration(*drawn(slopes=slope), "temperature")
    assert len(set(fitted.slopes)) == 1
    assert fitted.slopes[0] == pytest.approx(slope, rel=0.08)
    assert set(fitted.offsets) == {0.0}


def test_each_labels_slope_and_offset_are_found():
    slopes, offsets = np.array([0.5, 1.0, 2.0]), np.array([-1.0, 0.5, 1.0])
    fitted = fit_calibration(*drawn(labels=3, slopes=slopes, offsets=offsets), "platt")
    assert fitted.slopes == pytest.approx(slopes, rel=0.15)
    assert fitted.offsets == pytest.approx(offsets, abs=0.15)


def test_the_temperature_is_that_of_a_fine_grid():
    probabilities, targets = drawn(200, 2, seed=3, slopes=0.6)
    found = fit_calibration(probabilities, targets, "temperature").slopes[0]
    grid = np.geomspace(0.1, 10, 4001)
    losses = [log_loss(sigmoid(slope * logit(probabilities)), targets) for slope in grid]
    assert found == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


def test_platt_minimises_the_penalised_loss():
    probabilities, targets = drawn(60, 1, seed=4, slopes=0.5, offsets=-1)
    common = fit_calibration(probabilities, targets, "temperature").slopes[0]
    fitted = fit_calibration(probabilities, targets, "platt")

    def loss(slope, offset):
        moved = sigmoid(slope * logit(probabilities) + offset)
        return 60 * log_loss(moved, targets) + 5 * (np.log(slope / common) ** 2 + offset**2)

    best = loss(fitted.slopes[0], fitted.offsets[0])
    for step in (-0.02, 0.02):
        assert loss(fitted.slopes[0] * np.exp(step), fitted.offsets[0]) > best
        assert loss(fitted.slopes[0], fitted.offsets[0] + step) > best


def test_few_rows_move_a_label_less_than_many():
    probabilities, targets = drawn(4000, 1, offsets=-2.0)
    many = fit_calibration(probabilities, targets, "platt")
    few = np.concatenate([np.flatnonzero(targets)[:3], np.flatnonzero(~targets)[:20]])
    little = fit_calibration(probabilities[few], targets[few], "platt")
    common = fit_calibration(probabilities[few], targets[few], "temperature").slopes[0]
    assert many.offsets[0] == pytest.approx(-2, abs=0.2)
    assert -1 < little.offsets[0] < 0
    assert 0.7 < little.slopes[0] / common < 1.4


def test_a_label_that_never_changes_takes_the_common_temperature():
    probabilities, targets = drawn(300, 3, slopes=0.5)
    targets[:, 0], targets[:, 1] = False, True
    fitted = fit_calibration(probabilities, targets, "platt")
    assert fitted.slopes[:2] == fit_calibration(probabilities, targets, "temperature").slopes[:2]
    assert fitted.offsets[:2] == (0.0, 0.0)
    assert fitted.offsets[2] != 0


cells = st.sampled_from([0.0, 1.0, 1e-300, 0.5]) | st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 3)).flatmap(
        lambda shape: st.tuples(arrays(np.float64, shape, elements=cells), arrays(bool, shape))
    ),
    st.sampled_from(["temperature", "platt"]),
)
def test_calibrated_probabilities_keep_each_labels_order(table, kind):
    probabilities, targets = table
    fitted = fit_calibration(probabilities, targets, kind)
    found = fitted.apply(probabilities)
    assert ((found >= 0) & (found <= 1)).all()
    assert all(slope > 0 for slope in fitted.slopes)
    order = np.argsort(probabilities, axis=0)
    assert (np.diff(np.take_along_axis(found, order, axis=0), axis=0) >= 0).all()
    assert log_loss(found, targets) <= log_loss(probabilities, targets) + 1e-9 or kind == "platt"
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False))) == fitted


def test_what_is_right_is_left_alone():
    assert np.allclose(Calibration("platt", (1.0,), (0.0,)).apply([[0.0], [0.3], [1.0]]), [[0], [0.3], [1]], atol=1e-11)


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_calibration_helps_on_other_rows(kind):
    slopes = np.array([0.4, 0.5, 0.6, 0.4, 0.5])
    fitted = fit_calibration(*drawn(2000, seed=1, slopes=slopes), kind)
    probabilities, targets = drawn(4000, seed=2, slopes=slopes)
    better = fitted.apply(probabilities)
    assert calibration_error(better, targets) < 0.4 * calibration_error(probabilities, targets)
    assert label_calibration_errors(better, targets).mean() < label_calibration_errors(probabilities, targets).mean()
    assert log_loss(better, targets) < log_loss(probabilities, targets)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 3)).flatmap(
        lambda shape: st.tuples(arrays(np.float64, shape, elements=cells), arrays(bool, shape))
    ),
    st.integers(1, 16),
)
def test_the_error_is_that_of_a_loop_over_bins(table, bins):
    probabilities, targets = table
    total = 0.0
    for i in range(bins):
        of_bin = np.minimum(np.floor(probabilities * bins), bins - 1) == i
        if of_bin.any():
            total += of_bin.mean() * abs(probabilities[of_bin].mean() - targets[of_bin].mean())
    assert calibration_error(probabilities, targets, bins) == pytest.approx(total, abs=1e-12)
    each = label_calibration_errors(probabilities, targets, bins)
    for label, error in enumerate(each):
        assert error == pytest.approx(calibration_error(probabilities[:, [label]], targets[:, [label]], bins))


def test_known_errors():
    assert calibration_error([[0.25], [0.25], [0.25], [0.25]], [[True], [False], [False], [False]]) == 0
    assert calibration_error([[0.9, 0.9]], [[False, False]]) == pytest.approx(0.9)
    assert log_loss([[0.25]], [[True]]) == pytest.approx(np.log(4))


def test_unfit_arguments_are_refused():
    with pytest.raises(ValueError, match="kind"):
        fit_calibration([[0.5]], [[True]], "isotonic")
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        fit_calibration([[1.5]], [[True]], "platt")
    with pytest.raises(ValueError, match="bins"):
        calibration_error([[0.5]], [[True]], bins=0)
    with pytest.raises(ValueError, match=r"\(rows, 1\)"):
        Calibration("platt", (1.0,), (0.0,)).apply([[0.5, 0.5]])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "isotonic"},
        {"slopes": [0.0]},
        {"slopes": [1.0, 1.0]},
        {"slopes": ["1"]},
        {"slopes": 1.0},
        {"offsets": [None]},
        {"offsets": [float("inf")]},
        {"more": 1},
    ],
)
def test_another_content_is_no_calibration(change):
    content = {"kind": "platt", "slopes": [1.0], "offsets": [0.0]}
    assert Calibration.from_dict(content) == Calibration("platt", (1.0,), (0.0,))
    with pytest.raises(ValueError, match="calibration"):
        Calibration.from_dict(content | change)
