"""A search on a small cache."""

import json

import numpy as np
import pytest

from clipfuse.bench import bench
from clipfuse.errors import ConfigError, RunError, TrainingError
from clipfuse.train_config import EnsembleConfig, TrainConfig
from clipfuse.train_head import train_head
from clipfuse.tune import SearchSettings, parse_space, tune
from clipfuse.tune import training as training_module
from clipfuse.views import parse_views
from clipfuse_cache import FeatureTable

BASE = TrainConfig.model_validate(
    {"fusion": {"kind": "concat"}, "head": {"hidden": [8]}, "fit": {"epochs": 2, "precision": "float32"}}
)
SPACE = parse_space(
    "toy",
    {
        "fit.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
        "head.dropout": {"low": 0.0, "high": 0.8},
        "head.activation": ["gelu", "relu"],
    },
    "toy",
)


@pytest.fixture
def search(toy, tmp_path):
    """``search(space, base, runs=..., on_trial=..., trials=4, ...)`` -> Search."""

    def run(space=SPACE, base=BASE, *, runs=tmp_path / "runs", on_trial=lambda trial: None, **settings):
        chosen = SearchSettings(**{"trials": 4, "seeds": 2, **settings})
        return tune(toy.cache, toy.samples, toy.split(), base, space, chosen, runs=runs, on_trial=on_trial)

    return run


@pytest.fixture(scope="module")
def with_views(build_toy, add_features, tmp_path_factory):
    """A cache with a second view of its pictures: noise."""
    found = build_toy(tmp_path_factory.mktemp("views") / "cache", rows=120)
    noise = np.random.default_rng(1).normal(size=(120, 10)) + 3
    (flip,) = parse_views(["flip"])
    add_features(found.cache, found.samples, "image", noise, view=flip)
    return found


def scores(found):
    return {trial.number: [dict(result.scores) for result in trial.results] for trial in found.trials}


def test_the_best_is_first_and_the_same_search_finds_the_same(search, tmp_path):
    told = []
    found = search(on_trial=told.append)
    again = search(runs=tmp_path / "others")
    means = [trial.mean("micro_f1") for trial in found.trials]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) > 1
    assert sorted(trial.number for trial in told) == [1, 2, 3, 4]
    assert (found.trained, found.complete) == (8, True)
    assert all([result.seed for result in trial.results] == [0, 1] for trial in found.trials)
    assert scores(again) == scores(found)


def test_seeds_are_really_different(search):
    found = search(trials=1)
    one, other = found.trials[0].results
    assert one.scores != other.scores
    assert max(found.trials[0].deviation(metric) for metric in one.scores) > 0


def test_test_rows_are_never_read(search, toy, monkeypatch):
    asked = set()
    take = FeatureTable.take

    def watched(self, ids):
        asked.update(ids)
        return take(self, ids)

    monkeypatch.setattr(FeatureTable, "take", watched)
    search(trials=1)
    roles = toy.split().roles
    assert asked == {*roles["train"], *roles["validation"]}
    assert asked.isdisjoint(roles["test"])


def test_an_interrupted_search_goes_on(search, tmp_path):
    def interrupt(trial):
        raise KeyboardInterrupt

    whole = search(runs=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        search(on_trial=interrupt)
    rest = search()
    assert 0 < rest.trained < 8
    assert scores(rest) == scores(whole)
    known = search()
    assert known.trained == 0
    assert scores(known) == scores(whole)
    more = search(trials=5, seeds=3)
    assert more.folder == rest.folder
    assert more.trained == 15 - 8


def test_other_settings_are_trained_again(search):
    first = search(trials=1)
    assert search(trials=1, epoch_scale=2).trained == 2
    other = search(trials=1, base=BASE.model_copy(update={"scale": False}))
    assert other.trained == 2
    assert other.folder != first.folder


def test_the_budget_ends_it_and_it_goes_on_later(search):
    none = search(budget_seconds=0)
    assert (none.trials, none.trained, none.complete) == ((), 0, False)
    assert search().complete


def test_what_diverges_takes_no_other_one_with_it(search, monkeypatch):
    train_jobs = training_module.train_jobs

    def some_diverge(jobs, rows, progress):
        if any(job.config.head.options["activation"] == "relu" for job in jobs):
            raise TrainingError("the training loss is nan in epoch 1")
        return train_jobs(jobs, rows, progress)

    monkeypatch.setattr(training_module, "train_jobs", some_diverge)
    found = search(trials=6)
    failed = [trial for trial in found.trials if trial.settings["head.activation"] == "relu"]
    assert 0 < len(failed) < 6
    assert found.trials[-len(failed) :] == tuple(sorted(failed, key=lambda trial: trial.number))
    assert all(trial.mean("micro_f1") is None and "nan" in trial.error for trial in failed)
    assert all(trial.error is None for trial in found.trials[: -len(failed)])


def test_side_by_side_and_one_at_a_time_try_the_same(search, tmp_path):
    together = search()
    alone = search(runs=tmp_path / "alone", side_by_side=False)
    assert {trial.number: trial.settings for trial in together.trials} == {
        trial.number: trial.settings for trial in alone.trials
    }
    assert {trial.parameters for trial in together.trials} == {trial.parameters for trial in alone.trials}


@pytest.mark.parametrize(
    ("base", "space"),
    [
        ({"fusion": {"kind": "sum"}, "head": {"hidden": [8]}, "stacking": {"folds": 2}}, {"stacking.folds": [2, 3]}),
        ({"fusion": {"kind": "concat"}, "head": {"kind": "knn"}}, {"head.n_neighbors": [3, 5]}),
        ({"head": {"hidden": [8]}}, {"fusion.kind": ["image", "text"]}),
    ],
)
def test_stacked_fusions_estimators_and_other_streams(search, base, space):
    config = TrainConfig.model_validate({**base, "fit": {"epochs": 1}})
    found = search(parse_space("other", space, "other"), config, sampler="grid", seeds=1)
    assert len(found.trials) == 2
    assert all(trial.mean("micro_f1") is not None and trial.parameters > 0 for trial in found.trials)


def test_bench_does_not_take_it_for_a_run(search):
    folder = search(trials=1).folder
    assert bench(folder.parent) == ([], [])


def test_wrong_settings_are_said_before_training(search, tmp_path):
    with pytest.raises(ConfigError, match="hidden"):
        search(parse_space("wrong", {"head.hiden": [[8], [9]]}, "wrong"))
    with pytest.raises(ConfigError, match="unknown metric"):
        search(metric="f1")
    assert not (tmp_path / "runs").exists()


def test_a_damaged_file_of_results_is_named(search):
    folder = search(trials=1).folder
    line = json.loads((folder / "results.jsonl").read_text().splitlines()[0])
    (folder / "results.jsonl").write_text(json.dumps({**line, "extra": 1}) + "\n")
    with pytest.raises(RunError, match=r"results\.jsonl can't be read"):
        search(trials=1)


def test_a_combiner_that_learns_from_the_rows_that_judge_is_refused(search):
    base = TrainConfig.model_validate({"head": {"hidden": [8]}, "stacking": {"method": "validation"}})
    with pytest.raises(ConfigError, match="would train the combiner and judge it"):
        search(base=base, trials=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"fusion": {"kind": "concat"}},
        {"fusion": {"kind": "sum"}, "storage": "int8", "empty_rows": "most-probable"},
        {"fusion": {"kind": "concat"}, "ensemble": {"kind": "seeds", "size": 2}},
        {"fusion": {"kind": "concat"}, "image": {"views": ["flip"]}, "average_views": True},
    ],
    ids=["plain", "stacked, stored", "ensemble", "views"],
)
def test_what_is_judged_is_what_train_head_trains(toy, with_views, tmp_path, settings, _quick_intervals):
    data = with_views if "average_views" in settings else toy
    base = TrainConfig.model_validate({**BASE.model_dump(include={"head", "fit"}), **settings})
    space = parse_space("toy", {"fit.epochs": 4, "fit.learning_rate": [1e-2, 3e-2]}, "toy")
    chosen = SearchSettings(sampler="grid", seeds=1, side_by_side=False)  # which draws dropout in another order
    found = tune(data.cache, data.samples, data.split(), base, space, chosen, runs=tmp_path)
    assert len({tuple(trial.results[0].scores.values()) for trial in found.trials}) == 2
    for trial in found.trials:
        run = train_head(data.cache, data.samples, data.split(), trial.config, runs=tmp_path)
        (judged,), same = trial.results, run.metrics["scores"]["validation"]["scores"]
        assert judged.scores["micro_f1"] > 0
        assert judged.scores == pytest.approx({metric: same[metric] for metric in judged.scores})
        assert judged.parameters == run.metrics["parameters"]
        assert judged.best_epochs == run.metrics["best_epochs"]


def test_epochs_are_scaled_in_parts_and_combiner(search, monkeypatch):
    trained = []
    train_jobs = training_module.train_jobs

    def watched(jobs, rows, progress):
        trained.extend(job.config for job in jobs)
        return train_jobs(jobs, rows, progress)

    monkeypatch.setattr(training_module, "train_jobs", watched)
    base = {"head": {"hidden": [8]}, "fit": {"epochs": 8}, "stacking": {"fit": {"epochs": 6}}}
    base |= {"fusion": {"kind": "sum"}, "parts": {"text": {"fit": {"epochs": 4}}}}
    space = parse_space("toy", {"fit.learning_rate": [1e-3, 1e-2]}, "toy")
    found = search(space, TrainConfig.model_validate(base), sampler="grid", seeds=1, epoch_scale=0.5)
    assert {(one.fit.epochs, one.fit_of("text").epochs, one.combiner_fit.epochs) for one in trained} == {(4, 2, 3)}
    assert {(trial.config.fit.epochs, trial.config.combiner_fit.epochs) for trial in found.trials} == {(8, 6)}
    search(space, TrainConfig.model_validate(base), sampler="grid", seeds=1, epoch_scale=0.01)
    assert {(one.fit.epochs, one.combiner_fit.epochs) for one in trained[-2:]} == {(1, 1)}


def test_snapshots_need_the_epochs_that_scaling_leaves(search):
    base = {"fusion": {"kind": "concat"}, "head": {"hidden": [8]}, "ensemble": {"kind": "snapshots", "size": 2}}
    with pytest.raises(ConfigError, match="too few for 2 snapshots"):
        search(base=TrainConfig.model_validate(base), trials=1, epoch_scale=0.1)


def test_members_of_ensembles_share_no_seed(search):
    base = BASE.model_copy(update={"ensemble": EnsembleConfig(kind="seeds", size=2)})
    found = search(base=base, trials=1, seeds=2)
    assert [result.seed for result in found.trials[0].results] == [0, 2]
