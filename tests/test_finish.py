"""What becomes of a trained model before it predicts: stored, calibrated, cut."""

from dataclasses import replace

import numpy as np
import pytest
from stage_two import same_predictions, small

from clipfuse.calibration import fit_calibration
from clipfuse.run import open_run
from clipfuse.train_head import train_head

pytestmark = pytest.mark.usefixtures("_quick_intervals")


def train(toy, config, runs):
    return train_head(toy.cache, toy.samples, toy.split(), config, runs=runs)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_scores_are_those_of_what_is_stored(toy, tmp_path, storage):
    full = train(toy, small("sum"), tmp_path)
    run = train(toy, small("sum", storage=storage), tmp_path)
    again, kept = same_predictions(run, toy.cache)
    np.testing.assert_allclose(again, kept, atol=1e-6)
    apart = np.abs(kept - full.predictions().probabilities).max()
    assert 0 < apart < 0.1
    about = run.metrics["storage"]
    assert about["full_scores"] == full.metrics["scores"]["test"]
    assert about["bytes"] == (run.path / "model" / "model.safetensors").stat().st_size < about["full_bytes"]
    assert about["full_bytes"] == (full.path / "model" / "model.safetensors").stat().st_size
    scalers = run.predictor().weights["models.image.inputs.scalers.image.mean"]
    assert np.array_equal(scalers, full.predictor().weights["models.image.inputs.scalers.image.mean"])


def test_one_seed_gives_the_same_stored_bytes(toy, tmp_path):
    config = small("sum", storage="int8", ensemble={"kind": "seeds", "size": 2})
    one, other = (train(toy, config, tmp_path) for _ in range(2))
    name = "model/model.safetensors"
    assert (one.path / name).read_bytes() == (other.path / name).read_bytes()


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_calibration_is_fitted_on_validation_rows(toy, tmp_path, kind):
    plain = train(toy, small(), tmp_path)
    run = open_run(train(toy, small(calibration=kind, thresholds="common"), tmp_path).path)
    before, after = plain.predictions(), run.predictions()
    rows = before.of_role("validation")
    expected = fit_calibration(before.probabilities[rows].astype(np.float64), before.targets[rows], kind)
    np.testing.assert_allclose(after.probabilities, expected.apply(before.probabilities.astype(float)), atol=1e-3)
    again, kept = same_predictions(run, toy.cache)
    np.testing.assert_allclose(again, kept, atol=1e-6)
    about = run.metrics["calibration"]
    assert about["kind"] == kind and about["before"] != about["after"]
    assert set(run.metrics["threshold_gain"]) == {"micro_f1", "macro_f1", "samples_f1"}


def test_test_rows_decide_nothing(toy, tmp_path):
    config = small(calibration="platt", thresholds="per-label", storage="int8", refit="all")
    run = train(toy, config, tmp_path)
    labels = toy.samples.labels.copy()
    test = toy.samples.rows(toy.split().roles["test"])
    labels[test] = ~labels[test]
    other = train_head(toy.cache, replace(toy.samples, labels=labels), toy.split(), config, runs=tmp_path)
    assert np.array_equal(run.thresholds(), other.thresholds())
    assert run.predictor().calibration == other.predictor().calibration
    assert np.array_equal(run.predictions().probabilities, other.predictions().probabilities)


def test_empty_rows_get_their_most_probable_label(toy, tmp_path):
    plain = train(toy, small(), tmp_path)
    ruled = train(toy, small(empty_rows="most-probable"), tmp_path)
    said = plain.predictions()
    rows = said.of_role("test")
    empty = ~(said.probabilities[rows] >= 0.5).any(1)
    assert empty.any(), "a toy that is no test"
    assert ruled.metrics["scores"]["test"] != plain.metrics["scores"]["test"]
