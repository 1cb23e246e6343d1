"""Stage two from end to end, on features without encoders."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clipfuse.bench import bench
from clipfuse.errors import CacheMissing, ConfigError, DataError, TrainingError, UnknownName
from clipfuse.fusions import fusion_names
from clipfuse.heads import HEADS
from clipfuse.metrics import evaluate
from clipfuse.model_inputs import ModelInputs
from clipfuse.run import open_run
from clipfuse.settings import updated
from clipfuse.train_head import train_head
from clipfuse.training import train_models as train_models_module

COMBINATIONS = [
    *((fusion, "mlp") for fusion in fusion_names() if fusion != "numbers"),
    *((fusion, head) for fusion in ("image", "mixed") for head in HEADS if head not in ("mlp", "zero-shot")),
    *((fusion, "knn") for fusion in ("image", "text", "concat")),
]


def train(toy, config, runs, split=None, **options):
    return train_head(toy.cache, toy.samples, split or toy.split(), config, runs=runs, **options)


def model_files(run):
    """File name -> content."""
    return {path.name: path.read_bytes() for path in (run.path / "model").iterdir()}


def inputs_of(predictor):
    """What standardises the streams."""
    return [part for part in predictor.model.modules() if isinstance(part, ModelInputs)]


def reopened(run):
    """What the run reopened says about the rows of its split."""
    from clipfuse.select_streams import read_streams
    from clipfuse.stream_tables import StreamTables
    from clipfuse_cache import FeatureCache

    opened = open_run(run.path)
    cache = FeatureCache(type(run.path)(opened.metrics["cache"]))
    streams = read_streams(
        StreamTables({name: cache.table(about) for name, about in opened.streams.items()}), run.predictions().ids
    )
    return opened.predictor().probabilities(streams)


@pytest.mark.parametrize(("fusion", "head"), COMBINATIONS)
def test_every_fusion_with_every_head(toy, settings, tmp_path, fusion, head):
    run = train(toy, settings(fusion, head, epochs=10, fit={"batch_size": 16}), tmp_path)
    metrics, predictions = run.metrics, run.predictions()
    assert metrics["scores"]["test"]["scores"]["micro_f1"] > 0.65
    best_trivial = max(row["scores"]["micro_f1"] for row in metrics["trivial"])
    assert metrics["scores"]["test"]["scores"]["micro_f1"] > best_trivial
    assert metrics["kind"] == (f"knn-{fusion}" if head == "knn" else fusion)
    assert metrics["rows"] == {"train": 168, "validation": 24, "test": 48}
    assert metrics["parameters"] > 0 and metrics["prediction"]["rows_per_second"]["median"] > 0

    # what is written is what was scored, and what the reopened model says
    np.testing.assert_allclose(reopened(run), predictions.probabilities, atol=1e-6)
    split = toy.split()
    for role, ids in split.roles.items():
        rows = predictions.of_role(role)
        assert tuple(predictions.ids[row] for row in rows) == ids
        assert np.array_equal(predictions.targets[rows], toy.samples.labels[toy.samples.rows(ids)])
    for role in ("validation", "test"):
        rows = predictions.of_role(role)
        again = evaluate(predictions.probabilities[rows], predictions.targets[rows], run.thresholds(), run.labels)
        assert again.to_dict()["micro_f1"] == metrics["scores"][role]["scores"]["micro_f1"]


def test_stacked_runs_keep_their_out_of_fold_outputs(toy, settings, tmp_path):
    run = train(toy, settings("mixed"), tmp_path)
    predictions = run.predictions()
    rows, others = predictions.of_role("train"), np.flatnonzero(predictions.roles != 0)
    assert predictions.parts == ("image", "text", "concat")
    assert predictions.out_of_fold.shape == (240, 3, 4)
    assert np.isnan(predictions.out_of_fold[others]).all()
    assert set(predictions.folds[rows]) == {0, 1} and set(predictions.folds[others]) == {-1}
    for part in range(3):
        chosen = predictions.out_of_fold[rows, part] >= 0.5
        assert (chosen == predictions.targets[rows]).mean() > 0.7
    plain = train(toy, settings("mixed", stacking={"method": "joint"}), tmp_path).predictions()
    assert plain.parts == () and plain.out_of_fold.shape == (240, 0, 4)
    assert set(plain.folds) == {-1}


@pytest.mark.parametrize(("fusion", "head"), [("concat", "gmlp"), ("sum", "mlp"), ("image", "knn")])
def test_one_seed_gives_the_same_model_byte_for_byte(toy, settings, tmp_path, fusion, head):
    one, same, other = (train(toy, settings(fusion, head, seed=seed), tmp_path) for seed in (5, 5, 6))
    assert model_files(one) == model_files(same)
    assert one.metrics["scores"] == same.metrics["scores"]
    if head != "knn":
        assert model_files(one) != model_files(other)


@pytest.mark.parametrize(("fusion", "head"), [("concat", "mlp"), ("sum", "mlp"), ("concat", "knn")])
@pytest.mark.parametrize("thresholds", ["fixed", "per-label"])
def test_test_rows_change_nothing_but_their_scores(toy, settings, tmp_path, build_toy, fusion, head, thresholds):
    split = toy.split()
    config = settings(fusion, head, thresholds=thresholds)
    run = train(toy, config, tmp_path)
    labels = toy.samples.labels.copy()
    test = toy.samples.rows(split.roles["test"])
    labels[test] = ~labels[test]
    changed = train_head(toy.cache, replace(toy.samples, labels=labels), split, config, runs=tmp_path)
    assert model_files(changed) == model_files(run)
    assert np.array_equal(changed.thresholds(), run.thresholds())
    assert np.array_equal(changed.predictions().probabilities, run.predictions().probabilities)
    assert changed.metrics["scores"]["validation"] == run.metrics["scores"]["validation"]
    assert changed.metrics["best_epochs"] == run.metrics["best_epochs"]
    assert [row["row"] for row in changed.metrics["trivial"]] == [row["row"] for row in run.metrics["trivial"]]
    assert changed.metrics["scores"]["test"] != run.metrics["scores"]["test"]
    # scores against other labels are not ranked against each other
    assert len(bench(tmp_path)[0]) == 2


def test_features_of_test_rows_change_nothing_but_their_predictions(tmp_path, settings, build_toy, add_features):
    toy = build_toy(tmp_path / "cache", rows=120)
    split = toy.split()
    table = toy.cache.tables()[0]
    before = train(toy, settings("image"), tmp_path / "runs", split)
    values = table.take(toy.ids).values[:, 0].astype(float)
    values[toy.samples.rows(split.roles["test"])] = 50
    add_features(toy.cache, toy.samples, "image", values, encoder="shifted")
    after = train(toy, settings("image", image={"encoder": "shifted"}), tmp_path / "runs", split)
    assert model_files(before)["model.safetensors"] == model_files(after)["model.safetensors"]
    assert before.metrics["scores"]["validation"] == after.metrics["scores"]["validation"]
    assert before.metrics["scores"]["test"] != after.metrics["scores"]["test"]


@pytest.mark.parametrize("mode", ["common", "per-label"])
def test_thresholds_are_tuned_on_validation_rows(toy, settings, tmp_path, mode):
    from clipfuse.thresholds import tune_thresholds

    run = train(toy, settings("concat", "linear", thresholds=mode), tmp_path)
    found = run.predictions()
    rows = found.of_role("validation")
    targets = toy.samples.labels[toy.samples.rows(toy.split().roles["validation"])]
    np.testing.assert_allclose(
        run.thresholds(), tune_thresholds(found.probabilities[rows], targets, mode=mode), atol=1e-6
    )
    assert len(set(run.thresholds())) == (1 if mode == "common" else 4)
    assert run.metrics["thresholds"] == mode


def test_thresholds_are_a_half_otherwise(toy, settings, tmp_path):
    assert set(train(toy, settings("image"), tmp_path).thresholds()) == {0.5}


@pytest.mark.parametrize(("fusion", "head"), [("concat", "mlp"), ("sum", "mlp"), ("mixed", "gmlp"), ("concat", "knn")])
def test_refit_keeps_the_scores_and_trains_on_every_row(toy, settings, tmp_path, fusion, head):
    plain = train(toy, settings(fusion, head), tmp_path)
    refitted = train(toy, settings(fusion, head, refit="all"), tmp_path)
    assert refitted.metrics["scores"] == plain.metrics["scores"]
    assert np.array_equal(refitted.predictions().probabilities, plain.predictions().probabilities)
    assert refitted.metrics["refit"] == "all" and refitted.metrics["seconds"]["refit"] > 0
    assert model_files(refitted) != model_files(plain)
    scaled = next(module for module in inputs_of(refitted.predictor()) if "image" in module.streams)
    everything = scaled.scaler("image").mean
    values = toy.cache.tables()[0].take(toy.ids).values[:, 0].astype(np.float64)
    np.testing.assert_allclose(everything.numpy(), values.mean(0), rtol=1e-4)
    targets, found = refitted.predictions().targets, reopened(refitted)
    assert ((found >= 0.5) == targets).mean() > 0.85


def test_refit_takes_the_epochs_that_validation_chose(toy, settings, tmp_path, monkeypatch):
    fitted, original = [], train_models_module.fit_members

    def watched(members, rows, on_epoch):
        fitted.extend((len(one.train), one.validation is not None, one.config.epochs) for one in members)
        return original(members, rows, on_epoch)

    monkeypatch.setattr(train_models_module, "fit_members", watched)
    wild = {"schedule": "constant", "learning_rate": 0.1}
    run = train(toy, settings("concat", epochs=20, fit=wild, refit="all"), tmp_path)
    best = run.metrics["best_epochs"]["concat"]
    assert best < 20, "a toy that is no test"
    assert fitted == [(168, True, 20), (240, False, best)]


def test_rows_without_a_modality_are_counted_and_scored(tmp_path, build_toy, settings):
    toy = build_toy(tmp_path / "cache", rows=120, without={"image": 0.3, "text": 0.2})
    for fusion, head in (("sum", "mlp"), ("concat", "knn"), ("image", "linear")):
        run = train(toy, settings(fusion, head), tmp_path / "runs")
        assert set(run.metrics["missing"]) == set(run.streams)
        missing = run.metrics["missing"]["image"]
        for role, ids in toy.split().roles.items():
            lacking = ~toy.samples.image_digests[toy.samples.rows(ids)].any(1)
            assert missing[role] == lacking.sum()
        assert run.metrics["rows"]["test"] == 24
        assert np.isfinite(run.predictions().probabilities).all()


@pytest.mark.parametrize(("fusion", "head"), [("sum", "mlp"), ("concat", "linear"), ("text", "knn")])
def test_exactly_one_label(tmp_path, build_toy, settings, fusion, head):
    toy = build_toy(tmp_path / "cache", rows=120, labels=1)
    run = train(toy, settings(fusion, head), tmp_path / "runs")
    assert run.predictions().probabilities.shape == (120, 1)
    np.testing.assert_allclose(reopened(run), run.predictions().probabilities, atol=1e-6)


def test_a_label_that_never_applies_in_training(tmp_path, build_toy, settings):
    toy = build_toy(tmp_path / "cache", rows=80)
    labels = toy.samples.labels.copy()
    labels[:, 2] = False
    toy = toy.with_samples(labels=labels)
    for head in ("mlp", "knn"):
        run = train(toy, settings("concat", head, thresholds="per-label"), tmp_path / "runs")
        json.dumps(run.metrics, allow_nan=False)


def test_names_never_collide(toy, settings, tmp_path, monkeypatch):
    from datetime import datetime

    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 31, 12, 0, 0)

    monkeypatch.setattr("clipfuse.run.datetime", Stopped)
    runs = [train(toy, settings("image", epochs=1), tmp_path) for _ in range(3)]
    assert [run.name for run in runs] == ["20260131-120000-image" + end for end in ("", "-2", "-3")]


def test_history_has_every_epoch_of_every_part(toy, settings, tmp_path):
    run = train(toy, settings("sum", epochs=2), tmp_path)
    records = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    parts = [record["part"] for record in records]
    names = [name for part in ("image", "text") for name in (part, f"{part}, fold 1 of 2", f"{part}, fold 2 of 2")]
    assert sorted(parts) == sorted([name for name in names for _ in range(2)] + ["combiner"] * 3)
    assert parts[-3:] == ["combiner"] * 3
    assert all(record["validation_f1"] is not None for record in records)


def test_progress_counts_each_part_to_its_end(toy, settings, tmp_path):
    seen = []
    train(toy, settings("sum", epochs=2), tmp_path, progress=lambda *what: seen.append(what))
    assert ("image", 2, 2) in seen and ("combiner", 3, 3) in seen
    assert all(done <= total for _, done, total in seen)


def test_the_same_rows_as_if_they_had_one_modality(tmp_path, build_toy, settings):
    toy = build_toy(tmp_path / "cache", rows=120)
    run = train(toy, settings("sum", epochs=8), tmp_path / "runs")
    found = run.metrics["modalities"]
    assert list(found) == ["image only", "text only", "both"]
    assert found["both"] == run.metrics["scores"]["test"]
    rows = run.predictions().of_role("test")
    from clipfuse.select_streams import read_streams
    from clipfuse.stream_tables import StreamTables

    tables = StreamTables({name: toy.cache.table(about) for name, about in run.streams.items()})
    streams = read_streams(tables, [run.predictions().ids[row] for row in rows])
    for name in ("image", "text"):
        alone = run.predictor().probabilities(streams.masked([name]))
        again = evaluate(alone, run.predictions().targets[rows], run.thresholds(), run.labels).to_dict()
        assert again["micro_f1"] == found[f"{name} only"]["scores"]["micro_f1"]
    assert train(toy, settings("image"), tmp_path / "runs").metrics["modalities"] == {}


class TestRecipes:
    def test_a_run_knows_its_recipe(self, toy, tmp_path):
        from clipfuse.recipes import find_recipe

        recipe = find_recipe("s1-concat").train
        run = train(toy, recipe.model_copy(update={"seed": 4}), tmp_path)
        assert (run.metrics["recipe"], run.metrics["kind"]) == ("s1-concat", "s1-concat")
        assert run.name.endswith("-s1-concat") and open_run(run.path).config.recipe == "s1-concat"
        assert bench(tmp_path)[0][0].runs[0].kind == "s1-concat"
        fit = recipe.fit.model_copy(update={"epochs": 2})
        changed = train(toy, recipe.model_copy(update={"fit": fit}), tmp_path)
        assert (changed.metrics["recipe"], changed.metrics["kind"]) == ("s1-concat", "s1-concat-changed")

    def test_without_one(self, toy, settings, tmp_path):
        assert train(toy, settings("image", epochs=1), tmp_path).metrics["recipe"] is None
        with pytest.raises(UnknownName, match=r"unknown recipe 's2-smu'.*'s2-sum'"):
            train(toy, settings("image", recipe="s2-smu"), tmp_path / "none")
        assert not (tmp_path / "none").exists()


def test_an_estimator_reads_features_as_they_are_where_that_is_asked_for(toy, settings, tmp_path):
    run = train(toy, settings("concat", "knn").model_copy(update={"scale": False}), tmp_path)
    (inputs,) = inputs_of(run.predictor())
    assert all(bool((inputs.scaler(name).mean == 0).all()) for name in inputs.streams)
    np.testing.assert_allclose(reopened(run), run.predictions().probabilities, atol=1e-6)


@pytest.mark.parametrize("stacking", ["out-of-fold", "in-sample", "validation"])
def test_estimators_are_stacked_like_heads(toy, settings, tmp_path, stacking):
    run = train(toy, settings("sum", "ridge", stacking={"method": stacking}), tmp_path)
    assert {path.name for path in (run.path / "model").glob("*.skops")} == {
        "models.image.fusion.head.skops",
        "models.text.fusion.head.skops",
    }
    kept = run.predictions()
    np.testing.assert_allclose(reopened(run), kept.probabilities, atol=1e-6)
    assert run.metrics["scores"]["test"]["scores"]["micro_f1"] > 0.7
    assert set(run.metrics["modalities"]) == {"image only", "text only", "both"}
    assert kept.parts == (("image", "text") if stacking == "out-of-fold" else ())
    if kept.parts:
        rows = kept.of_role("train")
        seen = kept.out_of_fold[rows]
        assert np.isfinite(seen).all() and not np.array_equal(seen[:, 0] > 0.5, kept.targets[rows])


def test_an_estimator_beside_a_head(toy, settings, tmp_path):
    config = updated(settings("sum"), parts={"text": {"head": {"kind": "random-forest", "n_estimators": 10}}})
    run = train(toy, config, tmp_path)
    assert [path.name for path in (run.path / "model").glob("*.skops")] == ["models.text.fusion.head.skops"]
    assert run.metrics["best_epochs"]["image"] > 0 and run.metrics["best_epochs"]["text"] == 0
    np.testing.assert_allclose(reopened(run), run.predictions().probabilities, atol=1e-6)


def test_seeds_of_an_estimator_are_averaged(toy, settings, tmp_path):
    config = updated(settings("concat", "extra-trees", head_settings={"n_estimators": 5}), refit="all")
    run = train(toy, updated(config, ensemble={"kind": "seeds", "size": 2}), tmp_path)
    files = [path.read_bytes() for path in sorted((run.path / "model").glob("*.skops"))]
    assert len(files) == 2 and files[0] != files[1]
    assert run.predictor().parameters > 0


class TestRefusals:
    """Nothing of a run stays where training can't begin or end."""

    @pytest.mark.parametrize(
        ("fusion", "changes", "words"),
        [
            ("gated", {}, "head knn reads one array of features, fusion gated has layers"),
            ("sum", {"stacking": {"method": "joint"}}, "head knn is not trained in steps, so nothing .* jointly"),
            ("concat", {"ensemble": {"kind": "snapshots", "size": 2}}, "there are no snapshots"),
            ("concat", {"storage": "int8"}, "head knn is kept as scikit-learn made it"),
            ("sum", {"fusion": {"kind": "sum", "parts": ["image", "gated"]}}, "fusion gated has layers"),
        ],
    )
    def test_an_estimator_is_not_trained_in_steps(self, toy, settings, tmp_path, fusion, changes, words):
        config = updated(settings(fusion, "knn"), **changes)
        with pytest.raises(ConfigError, match=words):
            train(toy, config, tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_unknown_names(self, toy, settings, tmp_path):
        with pytest.raises(UnknownName, match=r"unknown fusion 'summ'.*'sum'"):
            train(toy, settings("summ"), tmp_path)
        with pytest.raises(ConfigError, match=r"unknown head 'gmpl'.*'gmlp'"):
            train(toy, settings("sum", "gmpl"), tmp_path)
        with pytest.raises(ConfigError, match=r"head linear: unknown setting 'hidden'"):
            train(toy, settings("sum", "linear", head_settings={"hidden": [3]}), tmp_path)
        with pytest.raises(UnknownName, match=r"unknown loss 'bec'.*'bce'"):
            train(toy, settings("sum", fit={"loss": {"kind": "bec"}}), tmp_path)
        assert not list(tmp_path.iterdir())

    def test_no_features(self, tmp_path, build_toy, settings):
        toy = build_toy(tmp_path / "cache", rows=60, modalities=("image",))
        with pytest.raises(CacheMissing, match=r"captions"):
            train(toy, settings("sum"), tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_features_of_other_captions(self, tmp_path, build_toy, settings):
        toy = build_toy(tmp_path / "cache", rows=60)
        changed = toy.with_samples(captions=tuple(f"new {caption}" for caption in toy.samples.captions))
        with pytest.raises(DataError, match=r"60 rows of .* other inputs"):
            train(changed, settings("text"), tmp_path / "runs")

    def test_a_loss_that_diverges(self, toy, settings, tmp_path):
        config = settings("image")
        wild = config.fit.model_copy(update={"learning_rate": 1e30})
        with pytest.raises(TrainingError, match=r"learning-rate"):
            train(toy, config.model_copy(update={"fit": wild}), tmp_path)
        assert not list(tmp_path.iterdir())

    def test_an_interruption(self, toy, settings, tmp_path):
        def interrupt(*_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(toy, settings("image"), tmp_path, progress=interrupt)
        assert not list(tmp_path.iterdir())
