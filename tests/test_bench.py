"""Runs side by side."""

from dataclasses import asdict

import pytest

from clipfuse.bench import bench, bench_row
from clipfuse.compare import paired
from clipfuse.errors import RunError
from clipfuse.train_head import train_head


@pytest.fixture(scope="module")
def runs(toy, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    splits = [toy.split(), toy.split(seed=1)]
    trained = [
        train_head(toy.cache, toy.samples, split, settings(fusion, head, epochs=2), runs=folder)
        for split in splits
        for fusion, head in (("image", "linear"), ("concat", "mlp"), ("text", "knn"))
    ]
    return folder, splits, trained


def test_runs_are_ranked_within_their_split(runs):
    folder, splits, trained = runs
    groups, problems = bench(folder)
    assert problems == []
    assert [group.split["digest"] for group in groups] == [split.digest for split in reversed(splits)]
    for group, members in zip(groups, (trained[3:], trained[:3]), strict=True):
        scores = [row.scores["micro_f1"] for row in group.runs]
        assert scores == sorted(scores, reverse=True)
        assert {row.name for row in group.runs} == {run.name for run in members}
        assert group.rows == {"train": 168, "validation": 24, "test": 48}
        assert group.trivial[0]["name"] == "no label"
        assert len(group.trivial) == 5


def test_a_row_says_what_the_run_says(runs):
    run = runs[2][2]
    row = bench_row(run)
    test = run.metrics["scores"]["test"]
    assert row.kind == "knn-text"
    assert row.encoders == {"text": "toy/pooled"}
    assert row.scores["micro_f1"] == test["scores"]["micro_f1"]
    low, high = row.intervals["micro_f1"]
    assert low <= row.scores["micro_f1"] <= high
    assert row.total_bytes == row.head_bytes + row.encoder_bytes == run.model_bytes + 1000
    assert asdict(row)["train_seconds"] == run.metrics["seconds"]["train"]


def test_trivial_rows_are_fitted_on_training_rows(runs, toy):
    folder, splits, _ = runs
    groups, _ = bench(folder)
    for group, split in zip(groups, reversed(splits), strict=True):
        prior = toy.samples.labels[toy.samples.rows(split.roles["train"])].mean(0)
        assert group.trivial[-1]["row"]["probabilities"] == pytest.approx(prior.tolist())


def test_no_runs(tmp_path):
    assert bench(tmp_path) == ([], [])
    assert bench(tmp_path / "nothing") == ([], [])


def test_paired_differences(runs):
    trained = runs[2]
    same = paired(trained[0], trained[0])
    assert (same.observed, same.low, same.high) == (0, 0, 0)
    found, turned = paired(trained[0], trained[1]), paired(trained[1], trained[0])
    scores = [run.metrics["scores"]["test"]["scores"]["micro_f1"] for run in trained]
    assert found.observed == pytest.approx(scores[0] - scores[1])
    assert found.low <= found.observed <= found.high
    assert turned.observed == pytest.approx(-found.observed)
    with pytest.raises(RunError, match=r"were scored on different rows"):
        paired(trained[0], trained[3])
