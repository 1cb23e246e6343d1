"""A search on a small cache."""

import json

import pytest

from clipfuse.bench import bench
from clipfuse.errors import ConfigError, RunError, TrainingError
from clipfuse.train_config import TrainConfig
from clipfuse.tune import SearchSettings, parse_space, tune
from clipfuse.tune import training as training_module
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
    train_models = training_module.train_models

    def some_diverge(trainees, rows, on_epoch):
        if any(trainee.config.head.options["activation"] == "relu" for trainee in trainees):
            raise TrainingError("the training loss is nan in epoch 1")
        return train_models(trainees, rows, on_epoch)

    monkeypatch.setattr(training_module, "train_models", some_diverge)
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


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"ensemble": {"kind": "seeds"}}, "judges single models"),
        ({"stacking": {"method": "validation"}}, "would train the combiner and judge it"),
    ],
)
def test_what_it_could_not_judge_is_refused(search, settings, what):
    base = TrainConfig.model_validate({"head": {"hidden": [8]}, "fit": {"epochs": 1}, **settings})
    with pytest.raises(ConfigError, match=what):
        search(base=base, trials=1)
