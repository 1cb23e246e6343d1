"""Small tables beside a run's scores."""

import pytest
from stage_two import small

from clipfuse.train_head import train_head
from clipfuse_cli.tables import show_run

pytestmark = pytest.mark.usefixtures("_quick_intervals")


def test_modalities_members_storage_and_repeats(toy, tmp_path, capsys):
    config = small("average", ensemble={"kind": "seeds", "size": 2}, storage="int8")
    run = train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path, seeds=2)
    both = run.metrics["modalities"]
    assert list(both) == ["image only", "text only", "both"] and both["both"] == run.metrics["scores"]["test"]
    show_run(run)
    shown = capsys.readouterr().out
    for word in ("image only", "text only", "both", "member 2", "best on validation", "int8", "mean of 2", "±"):
        assert word in shown, word
    value = both["image only"]["scores"]["micro_f1"]
    line = next(line for line in shown.splitlines() if "image only" in line)
    assert f"{value:.3f}" in line


def test_none_of_them_for_a_plain_model_of_one_modality(toy, tmp_path, capsys):
    run = train_head(toy.cache, toy.samples, toy.split(), small("image"), runs=tmp_path)
    assert run.metrics["modalities"] == {}
    show_run(run)
    shown = capsys.readouterr().out
    assert "only" not in shown and "member" not in shown and "stored as" not in shown and "±" not in shown
