"""Folds and seeds: many trainings, one run."""

from dataclasses import replace

import numpy as np
import pytest
from stage_two import every_table, same_predictions, small

from clipfuse.bench import bench
from clipfuse.calibration import fit_calibration
from clipfuse.compare import paired
from clipfuse.config import SplitConfig
from clipfuse.cross_validate import cross_validate
from clipfuse.errors import ConfigError, RunError
from clipfuse.leaks import find_leaks
from clipfuse.metrics import evaluate
from clipfuse.repeats import describe_repeats, mean_scores, repeat_config
from clipfuse.run import open_run
from clipfuse.splits import find_cross_validation
from clipfuse.train_head import train_head

pytestmark = pytest.mark.usefixtures("_quick_intervals")


@pytest.fixture(scope="module")
def deals(toy):
    return [find_cross_validation(toy.cache, toy.samples, 3, SplitConfig(seed=seed), None) for seed in (0, 1)]


@pytest.fixture(scope="module")
def run(toy, deals, tmp_path_factory):
    config = small("sum", thresholds="per-label")
    return cross_validate(toy.cache, toy.samples, deals, config, runs=tmp_path_factory.mktemp("cv"))


def test_mean_and_standard_deviation():
    scores = [{"micro_f1": value} for value in (0.5, 0.7, 0.9)]
    each = [{"scores": {**dict.fromkeys(METRICS_BUT_MICRO), **one}} for one in scores]
    each[0]["scores"]["macro_f1"] = 0.4
    found = describe_repeats(each)
    assert found["count"] == 3 and found["each"] == each
    assert found["mean"]["micro_f1"] == pytest.approx(0.7) and found["deviation"]["micro_f1"] == pytest.approx(0.2)
    assert found["mean"]["macro_f1"] == 0.4 and found["deviation"]["macro_f1"] is None
    assert found["mean"]["samples_f1"] is None


METRICS_BUT_MICRO = (
    "macro_f1",
    "samples_f1",
    "weighted_f1",
    "mean_average_precision",
    "subset_accuracy",
    "label_accuracy",
)


def test_each_modality_alone_is_scored_on_all_rows(toy, run, tmp_path, deals):
    modalities = run.metrics["modalities"]
    assert list(modalities) == ["image only", "text only", "both"]
    assert modalities["both"] == run.metrics["scores"]["test"]
    scores = {name: row["scores"]["micro_f1"] for name, row in modalities.items()}
    assert scores["both"] > scores["image only"] > 0 and modalities["image only"]["scores"]["rows"] == 240
    single = cross_validate(toy.cache, toy.samples, deals[:1], small("text"), runs=tmp_path)
    assert single.metrics["modalities"] == {}


def test_leaks_are_those_of_all_folds(run, toy, deals):
    expected = [leak.to_dict() for leak in find_leaks(every_table(toy), toy.samples, deals[0])]
    assert run.metrics["leaks"] == expected
    first = [leak.to_dict() for leak in find_leaks(every_table(toy), toy.samples, deals[0][:1])]
    assert sum(leak["rows"] for leak in expected) > sum(leak["rows"] for leak in first) > 0


def test_mean_scores_of_labels():
    truth = np.array([[True, False], [False, True]])
    one = evaluate(truth * 0.9, truth, 0.5, ["a", "b"]).to_dict()
    other = evaluate(np.zeros((2, 2)), truth & [True, False], 0.5, ["a", "b"]).to_dict()
    found = mean_scores([one, other])
    assert found["rows"] == 4 and found["micro_f1"] == 0.5
    assert found["labels"][1] == {
        "name": "b", "precision": 0.5, "recall": 0.5, "f1": 0.5, "average_precision": 1.0, "support": 1,
    }  # fmt: skip
    assert mean_scores([one, one], 2)["labels"] == one["labels"]


def test_no_two_repeats_share_a_seed():
    single = [repeat_config(small(seed=2), n).seed for n in range(4)]
    assert single == [2, 3, 4, 5]
    of_three = small(ensemble={"kind": "seeds", "size": 3})
    members = [repeat_config(of_three, n).seed + member for n in range(4) for member in range(3)]
    assert len(set(members)) == 12


def test_every_row_is_predicted_by_a_model_that_has_not_seen_it(toy, run, deals):
    found = open_run(run.path).predictions()
    assert sorted(found.ids) == sorted(toy.ids) and set(found.roles) == {2}
    for number, split in enumerate(deals[0]):
        assert {found.ids[row] for row in np.flatnonzero(found.folds == number)} == set(split.roles["test"])
    repeats = run.metrics["repeats"]["each"]
    assert [one["fold"] for one in repeats] == [1, 2, 3, 1, 2, 3]
    assert len({one["seed"] for one in repeats}) == 6
    assert len({one["scores"]["micro_f1"] for one in repeats}) > 3
    # the labels of a fold's rows decide nothing of what is said of them
    rows = np.flatnonzero(found.folds == 1)
    labels = toy.samples.labels.copy()
    flipped = toy.samples.rows([found.ids[row] for row in rows])
    labels[flipped] = ~labels[flipped]
    other = replace(toy.samples, labels=labels)
    again = cross_validate(toy.cache, other, deals[:1], run.config, runs=run.path.parent).predictions()
    assert again.ids == found.ids
    np.testing.assert_allclose(again.probabilities[rows], found.probabilities[rows], atol=1e-6)
    others = np.flatnonzero(found.folds != 1)
    assert np.abs(again.probabilities[others] - found.probabilities[others]).max() > 0.01


def test_scores_are_means_and_bench_shows_them(toy, run, tmp_path):
    metrics = run.metrics
    each = [one["scores"]["micro_f1"] for one in metrics["repeats"]["each"]]
    assert metrics["scores"]["test"]["scores"]["micro_f1"] == pytest.approx(np.mean(each))
    assert metrics["repeats"]["deviation"]["micro_f1"] == pytest.approx(np.std(each, ddof=1))
    supports = [label["support"] for label in metrics["scores"]["test"]["scores"]["labels"]]
    assert supports == toy.samples.labels.sum(0).tolist()
    assert metrics["trivial"][3]["scores"]["micro_f1"] < np.mean(each)
    groups, problems = bench(run.path.parent)
    assert not problems
    row = next(row for group in groups for row in group.runs if row.name == run.name)
    assert row.repeats == 6 and row.deviations["micro_f1"] == metrics["repeats"]["deviation"]["micro_f1"]


def test_it_keeps_no_model_and_no_comparable_thresholds(run):
    with pytest.raises(RunError, match="--refit all"):
        open_run(run.path).predictor()
    with pytest.raises(RunError, match="thresholds of each fold"):
        paired(run, run)


def test_refit_keeps_one_model_of_all_rows(toy, deals, tmp_path):
    config = small(thresholds="common", calibration="temperature", storage="float16", refit="all")
    run = open_run(cross_validate(toy.cache, toy.samples, deals[:1], config, runs=tmp_path).path)
    said, _ = same_predictions(run, toy.cache)
    targets = run.predictions().targets
    assert ((said >= run.thresholds()) == targets).mean() > 0.8
    mean = run.predictor().inner.weights["inputs.scalers.image.mean"].numpy()
    values = next(t for t in toy.cache.tables() if t.description.modality == "image").take(toy.ids).values[:, 0]
    np.testing.assert_allclose(mean, values.astype(np.float64).mean(0), rtol=1e-3)
    assert run.seen() == set(toy.ids)


def test_refit_is_calibrated_by_what_was_said_before_the_folds_calibrations(toy, deals, tmp_path):
    plain = cross_validate(toy.cache, toy.samples, deals[:1], small(), runs=tmp_path).predictions()
    config = small(calibration="platt", refit="all")
    run = cross_validate(toy.cache, toy.samples, deals[:1], config, runs=tmp_path)
    expected = fit_calibration(plain.probabilities, plain.targets, "platt")
    found = open_run(run.path).predictor().calibration
    np.testing.assert_allclose(found.slopes, expected.slopes, rtol=1e-3)
    np.testing.assert_allclose(found.offsets, expected.offsets, atol=1e-3)


def test_an_estimator_is_cross_validated_too(toy, deals, tmp_path):
    from clipfuse.train_config import TrainConfig

    config = TrainConfig.model_validate({"fusion": {"kind": "concat"}, "head": {"kind": "knn"}})
    run = cross_validate(toy.cache, toy.samples, deals[:1], config, runs=tmp_path)
    assert run.metrics["kind"] == "knn-concat" and run.metrics["repeats"]["mean"]["micro_f1"] > 0.6


def test_folds_that_leave_rows_out(toy, deals, tmp_path):
    with pytest.raises(ConfigError, match="each once"):
        cross_validate(toy.cache, toy.samples, [deals[0][:2]], small(), runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_seeds_leave_the_first_as_it_is(toy, tmp_path):
    one = train_head(toy.cache, toy.samples, toy.split(), small("sum"), runs=tmp_path)
    three = train_head(toy.cache, toy.samples, toy.split(), small("sum"), runs=tmp_path, seeds=3)
    assert (one.path / "model" / "model.safetensors").read_bytes() == (
        three.path / "model" / "model.safetensors"
    ).read_bytes()
    assert three.metrics["scores"] == one.metrics["scores"]
    repeats = three.metrics["repeats"]
    assert [entry["seed"] for entry in repeats["each"]] == [0, 1, 2] and repeats["count"] == 3
    assert repeats["each"][0]["scores"]["micro_f1"] == one.metrics["scores"]["test"]["scores"]["micro_f1"]
    assert len({entry["scores"]["mean_average_precision"] for entry in repeats["each"]}) == 3
    rows = {row.name: row for group in bench(tmp_path)[0] for row in group.runs}
    assert rows[three.name].scores["micro_f1"] == repeats["mean"]["micro_f1"]
    assert rows[three.name].repeats == 3 and rows[one.name].repeats == 1 and not rows[one.name].deviations
