"""Making probabilities mean what they say: of the cells given 0.3, three in ten should be true.

To be fitted on validation rows, before thresholds are tuned, never on the rows that are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfuse.metrics import checked

CalibrationKind = Literal["temperature", "platt"]
SHRINKAGE = 10.0
"""Strength of the pull toward the common temperature: about that of ten positive rows."""
BINS = 15
EDGE = 1e-12  # probabilities nearer to 0 or 1 have no useful logit
_WIDEST = 3.0  # log of the steepest slope; where all is told apart without error, no slope is steep enough


@dataclass(frozen=True)
class Calibration:
    """``sigmoid(slope * logit(p) + offset)`` for each label: order within a label stays.

    Attributes:
        kind: how it was fitted.
        slopes: (labels,) float64, above 0.
        offsets: (labels,) float64.
    """

    kind: CalibrationKind
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities, (rows, labels) float64. ValueError where the number of labels differs."""
        values = np.asarray(probabilities, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.slopes):
            raise ValueError(f"probabilities should be (rows, {len(self.slopes)}), not {values.shape}")
        return _sigmoid(np.array(self.slopes) * _logit(values) + np.array(self.offsets))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, "slopes": list(self.slopes), "offsets": list(self.offsets)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The opposite of :meth:`to_dict`. ValueError where the content is another."""
        if set(values) != {"kind", "slopes", "offsets"} or values["kind"] not in get_args(CalibrationKind):
            raise ValueError(f"not a calibration: {dict(values)}")
        slopes, offsets = (np.asarray(values[name]) for name in ("slopes", "offsets"))
        if slopes.ndim != 1 or slopes.shape != offsets.shape or {slopes.dtype.kind, offsets.dtype.kind} - {"f", "i"}:
            raise ValueError("a calibration should have one slope and one offset a label")
        if not (np.isfinite(slopes) & np.isfinite(offsets) & (slopes > 0)).all():
            raise ValueError("a calibration's slopes should be above 0, its offsets finite")
        return cls(values["kind"], tuple(map(float, slopes)), tuple(map(float, offsets)))


def fit_calibration(probabilities: ArrayLike, targets: ArrayLike, kind: CalibrationKind) -> Calibration:
    """The calibration under which these rows are most likely.

    - ``temperature``: one slope for all cells, no offset (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    - ``platt``: a slope and an offset for each label (Platt 1999, "Probabilistic Outputs for Support Vector Machines"),
      drawn toward the common temperature where they rest on few rows: by ``10/2 * (log(slope / common)² + offset²)``
      beside the sum of the log loss. A label that is the same in every row takes the common temperature.

    Args:
        probabilities: (rows, labels) float, each within [0, 1]; logits are refused.
        targets: (rows, labels) bool.
        kind: "temperature" or "platt".

    Raises:
        ValueError: an unknown kind; shapes that differ, no rows, values out of range.
    """
    if kind not in get_args(CalibrationKind):
        raise ValueError(f"kind should be one of {', '.join(get_args(CalibrationKind))}, not {kind!r}")
    values, truth = checked(probabilities, targets)
    logits = _logit(values)
    labels = truth.shape[1]
    common = _common_slope(logits, truth)
    slopes, offsets = np.full(labels, common), np.zeros(labels)
    if kind == "platt":
        for label in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
            slopes[label], offsets[label] = _platt(logits[:, label], truth[:, label], common)
    return Calibration(kind, tuple(slopes.tolist()), tuple(offsets.tolist()))


def calibration_error(probabilities: ArrayLike, targets: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error over all cells: the mean of |mean probability - share that is true| over bins of equal
    width, weighted by their cells (Naeini et al. 2015).

    Args:
        probabilities: (rows, labels) float, each within [0, 1].
        targets: (rows, labels) bool.
        bins: number of bins between 0 and 1.

    Raises:
        ValueError: less than one bin; shapes that differ, no rows, values out of range.
    """
    values, truth = checked(probabilities, targets)
    return float(label_calibration_errors(values.reshape(-1, 1), truth.reshape(-1, 1), bins)[0])


def label_calibration_errors(probabilities: ArrayLike, targets: ArrayLike, bins: int = BINS) -> NDArray[np.float64]:
    """The same of each label by itself, (labels,) float64."""
    values, truth = checked(probabilities, targets)
    if bins < 1:
        raise ValueError(f"bins should be at least 1, not {bins}")
    rows, labels = truth.shape
    bin_of = np.minimum((values * bins).astype(np.intp), bins - 1) + bins * np.arange(labels)
    gaps = np.bincount(bin_of.ravel(), (values - truth).ravel(), minlength=bins * labels)
    return np.asarray(np.abs(gaps).reshape(labels, bins).sum(axis=1) / rows)


def log_loss(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean negative log-likelihood of a cell; probabilities of 0 and 1 count as very near to it. Arguments and errors
    as in :func:`calibration_error`."""
    values, truth = checked(probabilities, targets)
    return float(_loss(_logit(values), truth).mean())


def _common_slope(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    from scipy.optimize import minimize_scalar

    # Convex in the slope, so that there is one minimum on the logarithm's axis too.
    found = minimize_scalar(
        lambda power: float(_loss(np.exp(power) * logits, truth).mean()),
        bounds=(-_WIDEST, _WIDEST),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _platt(logits: NDArray[np.float64], truth: NDArray[np.bool_], common: float) -> tuple[float, float]:
    """One label's slope and offset."""
    from scipy.optimize import minimize

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        power, offset = at
        slope = common * np.exp(power)
        moved = slope * logits + offset
        excess = _sigmoid(moved) - truth
        value = _loss(moved, truth).sum() + SHRINKAGE / 2 * (power**2 + offset**2)
        gradient = np.array([excess @ logits * slope + SHRINKAGE * power, excess.sum() + SHRINKAGE * offset])
        return float(value), gradient

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-_WIDEST, _WIDEST), (None, None)])
    power, offset = found.x
    return common * float(np.exp(power)), float(offset)


def _loss(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.logaddexp(0, np.where(truth, -logits, logits))


def _logit(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.clip(probabilities, EDGE, 1 - EDGE)
    return np.log(safe) - np.log1p(-safe)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -logits))
