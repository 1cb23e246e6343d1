"""Runs side by side."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from clipfuse import machine
from clipfuse.bench import bench, bench_row
from clipfuse.compare import paired
from clipfuse.encoders import mini
from clipfuse.errors import RunError
from clipfuse.machine import compared_machine
from clipfuse.measured import FILE, Measured, read_measured, write_measured
from clipfuse.run import open_run
from clipfuse.timing import Spread, Timing
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


def test_sizes_are_the_files_on_disk(scenes):
    (weights,) = Path(mini.__path__[0]).glob("*.safetensors")
    for run in scenes.runs.values():
        row = bench_row(run)
        assert row.head_bytes == sum(path.stat().st_size for path in (run.path / "model").iterdir())
        assert row.encoder_bytes == weights.stat().st_size  # once, though picture and caption are read with it
        assert row.total_bytes == row.head_bytes + row.encoder_bytes
        assert row.total_parameters == row.parameters + row.encoder_parameters
        assert 1.9 < row.encoder_bytes / row.encoder_parameters < 2.1  # its weights are float16


def test_a_size_that_is_not_known_is_not_zero(runs):
    run = runs[2][0]
    (stream,) = run.streams.values()
    imported = replace(run, streams={"image": replace(stream, provenance={"weights_bytes": 0})})
    row = bench_row(imported)
    assert (row.encoder_bytes, row.encoder_parameters, row.total_bytes, row.total_parameters) == (None,) * 4
    files = {name: digest for name, digest in run.metrics["files"].items() if not name.endswith(".safetensors")}
    without_model = bench_row(replace(run, metrics={**run.metrics, "files": files}))
    assert (without_model.head_bytes, without_model.total_bytes) == (None, None)


def test_what_a_run_took(scenes):
    row = bench_row(scenes.runs["sum"])
    assert row.elsewhere == () and set(row.machines) == {"training", "features", "stage one"}
    assert row.stage_one.rows_per_second > 0 and row.stage_one.seconds > 0
    assert row.features.rows == 512 and row.features.latency_ms.median > 0
    assert row.rows_per_second == row.features.rows_per_second.median > 0
    assert row.end_to_end is None  # nobody has measured it yet
    assert row.peak_memory.bytes >= (row.peak_memory.before or 0) > 0
    both, image = row, bench_row(scenes.runs["image"])
    assert image.stage_one.seconds < both.stage_one.seconds


@pytest.fixture
def copied(scenes, tmp_path):
    """A run that a test may change."""
    run = scenes.runs["sum"]
    return open_run(shutil.copytree(run.path, tmp_path / run.name))


def test_a_run_of_an_older_version_lacks_what_was_not_measured_then(copied):
    path = copied.path / "metrics.json"
    metrics = json.loads(path.read_text())
    for name in ("prediction", "stage_one", "peak_memory"):
        del metrics[name]
    path.write_text(json.dumps({**metrics, "prediction_rows_per_second": 250.0}))
    row = bench_row(open_run(copied.path))
    assert (row.stage_one, row.peak_memory, row.end_to_end) == (None, None, None)
    assert row.features == Timing(None, Spread(250.0, 250.0, 250.0, 1), 12)
    path.write_text(json.dumps(metrics))
    assert bench_row(open_run(copied.path)).features is None


def timing(ms):
    return Timing(Spread(ms, ms, ms, 3), Spread(1 / ms, 1 / ms, 1 / ms, 3), 10)


def test_measured_again_on_this_machine_counts_and_the_newest_of_it(copied):
    other = {"processor": "another", "cores": 64, "device": "cpu"}
    here = compared_machine("cpu")
    for where, ms, end_to_end in ((here, 1.0, 9.0), (here, 3.0, None), (other, 2.0, 8.0)):
        whole = None if end_to_end is None else timing(end_to_end)
        write_measured(copied.path, Measured.now(where, timing(ms), whole))
    assert [one.features for one in read_measured(copied.path)] == [timing(3.0), timing(2.0)]
    row = bench_row(copied)
    assert row.features == timing(3.0)
    assert row.end_to_end == timing(8.0) and row.elsewhere == ("end to end",)
    assert row.machines["end to end"] == "another, 64 cores"
    (copied.path / FILE).write_text("{")
    assert bench_row(copied).features == Timing.from_dict(copied.metrics["prediction"])


def test_heads_are_measured_again_on_the_processor(copied, monkeypatch):
    monkeypatch.setattr(machine, "_gpu_names", lambda: frozenset({"a GPU"}))
    where = {**compared_machine("cpu"), "device": "a GPU"}
    write_measured(copied.path, Measured.now(where, timing(3.0), timing(9.0)))
    row = bench_row(copied)
    assert row.machines["end to end"].endswith("a GPU") and not row.machines["features"].endswith("a GPU")
    assert (row.features, row.end_to_end, row.elsewhere) == (timing(3.0), timing(9.0), ())


def test_on_another_machine_all_of_it_was_measured_elsewhere(copied, monkeypatch):
    monkeypatch.setattr(machine, "_processor", lambda: "another")
    assert set(bench_row(copied).elsewhere) == {"training", "features", "stage one"}


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
