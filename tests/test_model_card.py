"""The README.md of a run."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from clipfuse.config import SplitConfig
from clipfuse.cross_validate import cross_validate
from clipfuse.model_card import NAME, model_card
from clipfuse.splits import find_cross_validation
from clipfuse.train_head import train_head


def card_of(run):
    return (run.path / NAME).read_text(encoding="utf-8")


def test_a_run_has_one_with_a_header_that_hubs_read(scenes):
    run = scenes.runs["sum"]
    text = card_of(run)
    data = ModelCard(text).data
    assert data.library_name == "clipfuse" and "multimodal" in data.tags and data.pipeline_tag is None
    micro = next(one for one in data.eval_results if one.metric_name == "micro-F1")
    assert micro.metric_value == pytest.approx(run.metrics["scores"]["test"]["scores"]["micro_f1"], abs=1e-4)
    assert ModelCard(card_of(scenes.runs["image"])).data.pipeline_tag == "image-classification"
    assert text == model_card(run)


def test_scores_stand_beside_trivial_ones_and_rows_are_told(scenes):
    run = scenes.runs["sum"]
    text = card_of(run)
    score, (low, high) = (run.metrics["scores"]["test"][key]["micro_f1"] for key in ("scores", "intervals"))
    assert f"| **sum** | {score:.3f} {low:.3f}–{high:.3f} |" in text
    assert "| label prior |" in text and "| image only |" in text
    rows = run.metrics["rows"]
    assert f"{rows['test']} test rows, trained on {rows['train']}, tuned on {rows['validation']}" in text
    for label in run.labels:
        assert f"\n| {label} |" in text
    assert all(stream.fingerprint in text for stream in run.streams.values())


def test_its_commands_and_its_program_work(scenes, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from clipfuse_cli.main import app

    run = scenes.runs["sum"]
    with scenes.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[30:33]
    (tmp_path / "runs").symlink_to(run.path.parent)
    (tmp_path / "pictures").symlink_to(scenes.images)
    with (tmp_path / "new.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.chdir(tmp_path)
    command = re.search(r"^clipfuse (predict .*)$", card_of(run), re.MULTILINE).group(1)
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0 and len((tmp_path / "labels.csv").read_text().splitlines()) == 4
    program = re.search(r"```python\n(.*?)```", card_of(run), re.DOTALL).group(1)
    assert 'load_run("' + run.name in program and "pictures/new.jpg" in program and '"a caption"' in program
    program = program.replace("new.jpg", rows[0]["filename"]).replace("a caption", rows[0]["caption"])
    monkeypatch.chdir(run.path.parent)
    found = {}
    exec(program.replace("pictures/", f"{scenes.images}/"), found)
    kept = run.predictions()
    expected = kept.probabilities[kept.ids.index(rows[0]["filename"])]
    np.testing.assert_allclose(found["found"].probabilities[0], expected, atol=1e-3)


def test_names_can_hold_anything(small, settings, tmp_path):
    names = ("a|b", "`c`\n---\nlicense: mit", "<script>", "  ")
    toy = small.with_samples(label_names=names)
    run = train_head(toy.cache, toy.samples, toy.split(), settings("concat"), runs=tmp_path / "runs")
    text = card_of(run)
    assert r"| a\|b |" in text and r"\<script\>" in text and "<script>" not in text
    assert r"| \`c\` --- license: mit |" in text
    awkward = replace(run, metrics={**run.metrics, "cache": "features/x: [y\n---\nlicense: mit\n\x07# \"z'"})
    header = model_card(awkward)
    data = ModelCard(header).data
    assert data.license is None
    assert data.eval_results[0].dataset_name == "x: [y --- license: mit # \"z'"


def test_a_cross_validation_has_deviations_and_nothing_to_use(toy, settings, tmp_path):
    folds = find_cross_validation(toy.cache, toy.samples, 2, SplitConfig(), None)
    run = cross_validate(toy.cache, toy.samples, [folds], settings("image", epochs=2), runs=tmp_path)
    text = card_of(run)
    assert "keeps no model" in text and "clipfuse predict" not in text
    assert re.search(r"\| \*\*image\*\*, mean of 2 \| 0\.\d{3} ±0\.\d{3} \|", text)
    assert ModelCard(text).data.eval_results
