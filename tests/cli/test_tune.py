"""``clipfuse tune``."""

import json
import shlex
import tomllib

import pytest

from clipfuse.run import list_runs, open_run

SMALL = ("--cache", "features/toy", "--device", "cpu", "--trials", "2", "--seeds", "1", "--set", "fit.epochs=1")


@pytest.fixture
def toy_cli(cli, build_toy, tmp_path):
    """``clipfuse ARGUMENTS`` beside a small cache."""
    build_toy(tmp_path / "features" / "toy", rows=80)
    return cli


def test_a_search_says_how_to_train_the_best_and_saves_it(toy_cli, tmp_path):
    first = toy_cli("tune", "--head", "mlp", "--fusion", "concat", *SMALL)
    assert first.exit_code == 0, first.stderr
    assert "2 settings, 1 seeds each, on 8 validation rows" in first.stdout
    assert first.stderr.count("micro_f1 0.") == 2
    command = first.stderr.splitlines()[-1]
    assert command.startswith("train the best: clipfuse train-head --set")
    assert "fit.epochs=1" in command and command.endswith("--cache features/toy")
    assert not (tmp_path / "clipfuse.toml").exists()

    again = toy_cli("tune", "--head", "mlp", "--fusion", "concat", *SMALL, "--json", "--save")
    found = json.loads(again.stdout)
    assert (found["trained"], found["complete"], found["validation_rows"]) == (0, True, 8)
    best = found["trials"][0]["settings"]
    saved = tomllib.loads((tmp_path / "clipfuse.toml").read_text())["train"]
    assert saved["fusion"]["kind"] == "concat"
    assert saved["head"]["hidden"] == best["head.hidden"]
    assert saved["fit"]["learning_rate"] == best["fit.learning_rate"]
    assert toy_cli("train-head", "--cache", "features/toy").exit_code == 0


def test_the_command_trains_on_the_same_rows_and_features(toy_cli, tmp_path, _quick_intervals):
    with open(tmp_path / "clipfuse.toml", "w") as file:
        file.write("[split]\nduplicate_similarity = 0.9999\n")
    rows = ("--group-duplicates", "--validation", "0.2", "--split-seed", "3", "--runs", "my runs")
    own = ("--recipe", "best", "--image-output", "pooled", "--set", "ensemble.size=2", "--set", "head.hidden=[8]")
    found = toy_cli("tune", *own, *rows, *SMALL, "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["validation_rows"] == 16
    command = shlex.split(found.stderr.splitlines()[-1].removeprefix("train the best: clipfuse "))
    trained = toy_cli(*command, "--device", "cpu")
    assert trained.exit_code == 0, trained.stderr
    run = open_run(list_runs(tmp_path / "my runs")[-1])
    assert [path.stem for path in (tmp_path / "features/toy/splits").iterdir()] == [run.metrics["split"]["name"]]
    assert run.metrics["split"]["name"].endswith("-s3-grouped0.9999") and run.metrics["rows"]["validation"] == 16
    assert (run.config.ensemble.kind, run.config.ensemble.size, run.config.thresholds) == ("seeds", 2, "expected")
    assert run.config.image.output == "pooled" and run.config.fusion.kind == "mixed" and run.config.fit.epochs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--space", "s2-studdy"), "Did you mean 's2-study'?"),
        (("--space", "mine.toml"), "mine.toml can't be read"),
        (("--metric", "f1"), "unknown metric 'f1'"),
        (("--grid", "--sampler", "random"), "Leave out one of them"),
        (("--grid", "--fusion", "concat"), "has 72,576 settings"),
        (("--epoch-scale", "0"), "--epoch-scale is 0"),
        (("--head", "knn", "--fusion", "concat"), "no space is known for head knn"),
    ],
)
def test_what_is_wrong_is_said(toy_cli, arguments, message):
    result = toy_cli("tune", "--cache", "features/toy", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
