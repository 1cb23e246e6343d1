"""A run's history for TensorBoard."""

import json
import sys

import pytest

from clipfuse.errors import ConfigError
from clipfuse.tensorboard import check_tensorboard, write_tensorboard


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_number_of_the_history_is_there(scenes, tmp_path):
    run = scenes.runs["sum"]
    target = write_tensorboard(run, tmp_path)
    assert target == tmp_path / run.name
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert {record["part"] for record in history} > {"image", "text", "combiner", "text, fold 2 of 2"}
    for part in ("image", "text", "combiner"):
        own = [record for record in history if record["part"] == part]
        found = scalars(target / part)
        for name in ("train_loss", "validation_loss", "validation_f1"):
            expected = [(record["epoch"], pytest.approx(record[name], rel=1e-6)) for record in own]
            assert found[name] == expected
        assert "epoch" not in found
    test = run.metrics["scores"]["test"]["scores"]["micro_f1"]
    assert scalars(target)["test/micro_f1"] == [(0, pytest.approx(test, rel=1e-6))]


def test_folds_have_folders_of_their_own(scenes, tmp_path):
    from dataclasses import replace

    lines = [{"repeat": n, "part": "member 1, image", "epoch": 1, "epochs": 1, "train_loss": n / 4} for n in (1, 2)]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    target = write_tensorboard(replace(scenes.runs["image"], path=tmp_path / "run"), tmp_path / "board")
    assert scalars(target / "fold-2-member-1-image") == {"train_loss": [(1, 0.5)]}


def test_a_missing_package_is_told_in_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"needs tensorboard.*clipfuse\[tensorboard\]"):
        check_tensorboard()
