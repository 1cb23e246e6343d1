"""``clipfuse tune``."""

import json
import tomllib

import pytest

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
