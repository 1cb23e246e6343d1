"""From a trained model to what predicts: stored, calibrated, and cut at thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.calibration import Calibration, fit_calibration
from clipfuse.choose import EmptyRows
from clipfuse.evaluation import score_rows
from clipfuse.labelled_rows import LabelledRows
from clipfuse.metrics import Scores, evaluate
from clipfuse.predictor import CalibratedPredictor, Predictor, over_views
from clipfuse.thresholds import tune_thresholds
from clipfuse.train_config import TrainConfig


@dataclass(frozen=True)
class Finished:
    """A model with what was fitted on validation rows.

    Attributes:
        predictor: what predicts from now on.
        uncalibrated: the same before its calibration.
        calibration: what makes the difference; None for none.
        thresholds: (labels,) float64.
        empty_rows: what becomes of a row with no label at its threshold.
    """

    predictor: Predictor
    uncalibrated: Predictor
    calibration: Calibration | None
    thresholds: NDArray[np.float64]
    empty_rows: EmptyRows

    def calibrated(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """What ``predictor`` says where ``uncalibrated`` says this."""
        return probabilities if self.calibration is None else self.calibration.apply(probabilities)

    def evaluate(self, said: NDArray[np.float64], truth: NDArray[np.bool_], labels: list[str]) -> Scores:
        """Scores of what the predictor says of some rows, (rows, labels)."""
        return evaluate(said, truth, self.thresholds, labels, empty_rows=self.empty_rows)

    def score(self, said: NDArray[np.float64], truth: NDArray[np.bool_], labels: list[str]) -> dict[str, Any]:
        """The same with their intervals, as JSON values (see ``score_rows``)."""
        return score_rows(said, truth, self.thresholds, labels, empty_rows=self.empty_rows)


def finish(config: TrainConfig, predictor: Predictor, rows: LabelledRows) -> Finished:
    """Store a model as the settings say, calibrate it and choose its thresholds: by its validation rows alone."""
    stored = as_kept(config, predictor)
    validation = rows.index["validation"]
    truth = rows.truth(validation)
    said = rows.ask(stored, validation)
    calibration, thresholds = fit_decision(config, said, truth)
    found = stored if calibration is None else CalibratedPredictor(stored, calibration)
    return Finished(found, stored, calibration, thresholds, config.empty_rows)


def as_kept(config: TrainConfig, predictor: Predictor) -> Predictor:
    """A model stored, and averaged over views, as the settings say."""
    return over_views(predictor.stored(config.storage), config)


def fit_decision(
    config: TrainConfig, probabilities: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[Calibration | None, NDArray[np.float64]]:
    """The calibration that the settings ask for, and thresholds, (labels,) float64, of what it makes of probabilities.

    Args:
        config: calibration, thresholds and the rule for empty rows.
        probabilities: (rows, labels) of rows that the model was not trained on and that are not reported.
        truth: (rows, labels).
    """
    calibration = None
    if config.calibration != "none":
        calibration = fit_calibration(probabilities, truth, config.calibration)
        probabilities = calibration.apply(probabilities)
    if config.thresholds == "fixed":
        return calibration, np.full(truth.shape[1], 0.5)
    return calibration, tune_thresholds(probabilities, truth, mode=config.thresholds, empty_rows=config.empty_rows)


def refinish(config: TrainConfig, refitted: Predictor, calibration: Calibration | None) -> Predictor:
    """A model that was trained again on all rows, stored, and calibrated like the one that validation rows chose."""
    stored = as_kept(config, refitted)
    return stored if calibration is None else CalibratedPredictor(stored, calibration)
