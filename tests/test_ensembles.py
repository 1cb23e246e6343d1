"""Ensembles, from settings to what is kept of them."""

import json

import numpy as np
import pytest
import torch
from stage_two import same_predictions, small

from clipfuse.ensembles import ensemble_members
from clipfuse.errors import ConfigError
from clipfuse.inputs import no_progress
from clipfuse.labelled_rows import load_rows
from clipfuse.run import open_run
from clipfuse.select_streams import select_streams
from clipfuse.train_head import train, train_head
from clipfuse.train_jobs import ENSEMBLE, Job, train_jobs

pytestmark = pytest.mark.usefixtures("_quick_intervals")


EXACT = {"head": {"dropout": 0.0}, "fit": {"precision": "float32"}}
"""Side by side and alone only rounding differs."""


@pytest.fixture(scope="module")
def rows(toy):
    return load_rows(select_streams(toy.cache, small("sum")), toy.samples, toy.split(), "cpu")


def weights(predictor):
    return torch.cat([value.float().flatten() for value in predictor.weights.values()])


def test_folds_leave_each_row_out_of_one_member(rows):
    train_rows = rows.index["train"]
    members = ensemble_members(small(ensemble={"kind": "folds", "size": 3}), train_rows, rows.rows)
    for member in members:
        unseen = train_rows[member.outside]
        assert sorted([*member.train.tolist(), *unseen.tolist()]) == train_rows.tolist()
    assert sorted(row for member in members for row in member.outside.tolist()) == list(range(len(train_rows)))
    assert len({member.config.seed for member in members}) == 3


@pytest.mark.parametrize("fusion", ["concat", "sum"])
@pytest.mark.parametrize("kind", ["seeds", "folds", "snapshots"])
def test_an_ensemble_is_the_mean_of_different_members(rows, kind, fusion):
    trained = train(small(fusion, ensemble={"kind": kind, "size": 2}), rows, rows.index, no_progress)
    streams = rows.rows.streams.rows(rows.index["test"])
    said = [member.probabilities(streams) for member in trained.predictor.members]
    assert len(said) == 2 and np.abs(said[0] - said[1]).max() > 1e-3
    np.testing.assert_allclose(trained.predictor.probabilities(streams), (said[0] + said[1]) / 2, atol=1e-9)
    truth = rows.truth(rows.index["test"])
    assert all(((one >= 0.5) == truth).mean() > 0.7 for one in said)
    word = "snapshot" if kind == "snapshots" else "member"
    parts = ["concat"] if fusion == "concat" else ["image", "text", "combiner"]
    assert list(trained.best_epochs) == [f"{word} {n}, {part}" for n in (1, 2) for part in parts]


def test_a_member_of_seeds_is_what_its_seed_alone_gives(rows):
    config = small(ensemble={"kind": "seeds", "size": 2}, seed=3, **EXACT)
    members = train(config, rows, rows.index, no_progress).predictor.members
    for member, seed in zip(members, (3, 4), strict=True):
        alone = train(small(seed=seed, **EXACT), rows, rows.index, no_progress).predictor
        assert torch.allclose(weights(member), weights(alone), atol=1e-4)


def test_what_folds_say_of_training_rows_is_out_of_fold(rows):
    trained = train(small(ensemble={"kind": "folds", "size": 2}), rows, rows.index, no_progress)
    fold_of, held_out = trained.fitted.fold_of, trained.fitted.out_of_fold[ENSEMBLE]
    positions = rows.index["train"]
    for number, member in enumerate(trained.predictor.members):
        mine = torch.from_numpy(np.flatnonzero(fold_of == number))
        said = member.probabilities(rows.rows.streams.rows(positions[mine]))
        np.testing.assert_allclose(held_out[mine].numpy(), said, atol=1e-6)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_snapshots_are_the_ends_of_cycles(rows, fusion):
    config = small(fusion, ensemble={"kind": "snapshots", "size": 2}, fit={"epochs": 4})
    trained = train(config, rows, rows.index, no_progress)
    plain = train(small(fusion, fit={"epochs": 4, "cycles": 2}), rows, {"train": rows.index["train"]}, no_progress)
    last = trained.predictor.members[-1].weights
    parts = [name for name in last if not name.startswith("combiner")]  # that one's epoch is chosen by validation
    assert parts
    for name in parts:  # without validation a fit keeps its last epoch
        assert torch.equal(last[name], plain.predictor.weights[name])


def test_a_run_of_an_ensemble(toy, tmp_path):
    config = small("sum", ensemble={"kind": "seeds", "size": 2}, storage="int8", thresholds="common")
    run = train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path)
    again, kept = same_predictions(run, toy.cache)
    np.testing.assert_allclose(again, kept, atol=1e-6)
    about = run.metrics["ensemble"]
    assert (about["kind"], about["size"], len(about["members"])) == ("seeds", 2, 2)
    best = max(about["members"], key=lambda member: member["validation"]["micro_f1"])
    assert about["members"][about["best_member"] - 1]["validation"] == best["validation"]
    chosen = about["members"][about["best_member"] - 1]["test"]["micro_f1"]
    whole = run.metrics["scores"]["test"]["scores"]["micro_f1"]
    assert about["difference"]["observed"] == pytest.approx(whole - chosen, abs=1e-9)
    assert about["difference"]["low"] <= about["difference"]["high"]
    parts = {json.loads(line)["part"] for line in (run.path / "history.jsonl").read_text().splitlines()}
    assert "member 2, combiner" in parts


@pytest.mark.parametrize(("kind", "fusion"), [("seeds", "sum"), ("folds", "concat"), ("snapshots", "sum")])
def test_refit_trains_every_member_on_all_rows(toy, tmp_path, kind, fusion):
    config = small(fusion, ensemble={"kind": kind, "size": 2}, storage="float16")
    plain = train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path)
    refit = train_head(toy.cache, toy.samples, toy.split(), config.model_copy(update={"refit": "all"}), runs=tmp_path)
    assert refit.metrics["scores"] == plain.metrics["scores"]
    before, after = plain.predictor().members, open_run(refit.path).predictor().members
    assert len(after) == 2 and refit.seen() == set(toy.ids)
    scaler = next(name for name in after[0].weights if name.endswith("image.mean"))
    for old, new in zip(before, after, strict=True):
        assert not torch.equal(old.weights[scaler], new.weights[scaler])
        assert new.weights[scaler].dtype == torch.float32


@pytest.mark.parametrize(
    ("fit", "words"),
    [({"schedule": "constant"}, "--schedule cosine"), ({"epochs": 2}, "--epochs"), ({"patience": 2}, "--patience")],
)
def test_snapshots_that_can_not_be(toy, tmp_path, fit, words):
    config = small(ensemble={"kind": "snapshots", "size": 3}, fit=fit)
    with pytest.raises(ConfigError, match=words):
        train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_several_jobs_at_once_are_what_they_are_alone(rows):
    config = small(**EXACT)
    jobs = [Job(config.model_copy(update={"seed": seed}), rows.index, name=f"job {seed}, ") for seed in (0, 1)]
    together = train_jobs(jobs, rows.rows, no_progress)
    for job, found in zip(jobs, together, strict=True):
        alone = train(job.config, rows, job.roles, no_progress)
        assert torch.allclose(weights(found.predictor), weights(alone.predictor), atol=1e-4)
        assert [record["part"] for record in found.history] == ["concat"] * 4
