"""The demo from end to end."""

import json

import pytest
from typer.testing import CliRunner

from clipfuse.demo.pipeline import run_demo
from clipfuse.project import load_project
from clipfuse.run import list_runs


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    seen = []
    return folder, run_demo(folder, rows=150, seed=7, progress=lambda *what: seen.append(what)), seen


def test_six_models_are_trained_and_compared(demo):
    folder, result, seen = demo
    assert sorted(run.kind for run in result.group.runs) == ["concat", "image", "knn-concat", "mixed", "sum", "text"]
    assert result.rows == 150 and result.rows_per_second > 0
    assert result.group.rows == {"train": 105, "validation": 15, "test": 30}
    assert len(list_runs(folder / "runs")) == 6
    assert {entry.part for entry in result.ledger} == {"image", "text"}
    lines = (folder / "features/scenes/ledger.jsonl").read_text().splitlines()
    assert sum('"reason"' in line for line in lines) == len(result.ledger) == 13
    assert len(lines) == 14 and '"truncated"' in lines[-1]
    assert ("drawing scenes", 0, 0) in seen


def test_its_table_as_json(demo, monkeypatch):
    from clipfuse.demo import pipeline
    from clipfuse_cli.main import app

    _, result, _ = demo
    monkeypatch.setattr(pipeline, "run_demo", lambda *_, **__: result)
    said = CliRunner().invoke(app, ["demo", "--json", "--quiet"])
    (group,) = json.loads(said.stdout)
    assert said.exit_code == 0 and [run["name"] for run in group["runs"]] == [run.name for run in result.group.runs]


def test_models_beat_the_trivial_rows(demo):
    _, result, _ = demo
    trivial = max(row["scores"]["micro_f1"] for row in result.group.trivial)
    assert result.group.runs[0].scores["micro_f1"] > trivial


def test_its_folder_is_a_project(demo):
    folder, _, _ = demo
    project = load_project(folder)
    assert (folder / project.data.table).exists() and (folder / project.data.images).is_dir()
    assert (folder / project.cache / "samples.h5").exists()


def test_a_second_time_it_uses_what_is_there(demo):
    folder, first, _ = demo
    before = {path: path.read_bytes() for path in (folder / "features").rglob("*.h5") if path.name != "samples.h5"}
    again = run_demo(folder, rows=150, seed=7)
    assert again.rows_per_second == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(list_runs(folder / "runs")) == 12
    assert len(again.group.runs) == 6
    assert not {run.name for run in again.group.runs} & {run.name for run in first.group.runs}
    scores = [{run.kind: run.scores for run in result.group.runs} for result in (first, again)]
    assert scores[0] == scores[1]
