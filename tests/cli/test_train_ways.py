"""Ways to train that are more than one training: each by its options, from the cache to the table."""

import json

import pytest

from clipfuse.run import list_runs, open_run


@pytest.fixture
def train(tmp_path, build_toy, cli, _quick_intervals):
    """``train(*options)`` -> the result and the newest run, on a small cache."""
    build_toy(tmp_path / "features" / "toy", rows=120)

    def run(*options, code=0):
        short = ("--epochs", 2, "--hidden", 8, "--cache", "features/toy")
        result = cli("train-head", *short, *options)
        assert result.exit_code == code, result.stderr
        found = list_runs(tmp_path / "runs")
        return result, open_run(found[-1]) if found and code == 0 else None

    return run


def test_ensemble(train):
    result, run = train("--fusion", "concat", "--ensemble", "seeds:3")
    assert (run.config.ensemble.kind, run.config.ensemble.size) == ("seeds", 3)
    assert "member 3" in result.stdout
    result, _ = train("--ensemble", "seeds:many", code=2)
    assert "--ensemble seeds:5" in result.stderr


def test_snapshots_of_cycles(train):
    _, run = train("--fusion", "concat", "--ensemble", "snapshots:2", "--epochs", 4)
    assert len(run.metrics["ensemble"]["members"]) == 2


def test_seeds(train):
    result, run = train("--fusion", "text", "--seeds", 2)
    assert len(run.metrics["repeats"]["each"]) == 2
    assert "±" in result.stdout


def test_cross_validation(train, tmp_path):
    result, run = train("--fusion", "text", "--cross-validate", 3)
    assert run.metrics["rows"]["test"] == 120
    assert run.name.endswith("-cv")
    assert "predict" not in result.stderr.splitlines()[-1]  # it keeps no model
    result, _ = train("--cross-validate", 3, "--from", run.path, code=2)
    assert "Leave out --from" in result.stderr


def test_training_on(train):
    _, first = train("--fusion", "text")
    _, second = train("--from", first.name, "--learning-rate", "1e-6")
    assert second.metrics["from"] == first.name
    assert second.config.fusion.kind == "text" and second.config.fit.learning_rate == 1e-6


def test_unlabelled_rows(train, tmp_path, build_toy):
    build_toy(tmp_path / "features" / "more", rows=150, seed=5, prefix="more")
    for where in ("features/more", "more.csv"):
        _, run = train("--fusion", "concat", "--unlabelled", where)
        assert run.metrics["pseudo_labels"]["rows"] == 30  # the others have the captions of labelled rows


def test_blocks_from_the_disk(train):
    _, run = train("--fusion", "sum", "--memory-gb", "5e-6")
    assert run.config.memory_gb == 5e-6
    assert run.metrics["rows"] == {"train": 84, "validation": 12, "test": 24}


def test_duplicates_are_kept_together(train, tmp_path):
    result, _ = train("--fusion", "text", "--group-duplicates", code=2)
    assert "fall into one group" in result.stderr  # the features of this cache are all alike
    with open(tmp_path / "clipfuse.toml", "w") as file:
        file.write("[split]\nduplicate_similarity = 0.9999\n")
    _, run = train("--fusion", "text", "--group-duplicates")
    split = json.loads((tmp_path / "features/toy/splits" / f"{run.metrics['split']['name']}.json").read_text())
    assert split["grouping"]["similarity"] == 0.9999


def test_views_that_are_not_there(train):
    result, _ = train("--image-view", "flip", code=1)
    assert "flip" in result.stderr
    result, _ = train("--average-views", code=2)
    assert "no views" in result.stderr


def test_what_choosing_was_worth_is_said(cli, tmp_path, build_toy, _quick_intervals):
    build_toy(tmp_path / "features" / "toy", rows=80)
    short = ("--cache", "features/toy", "--fusion", "text", "--epochs", 2)
    plain = cli("train-head", *short)
    assert "beside a plain 0.5" not in plain.stdout and "calibration" not in plain.stdout
    chosen = cli("train-head", *short, "--thresholds", "per-label", "--calibration", "platt")
    metrics = open_run(list_runs(tmp_path / "runs")[-1]).metrics
    gain, before = metrics["threshold_gain"]["micro_f1"], metrics["calibration"]["before"]
    assert f"micro-F1 {gain['observed']:+.3f} beside a plain 0.5" in chosen.stdout
    assert f"calibration platt: calibration error {before['error']:.3f} →" in chosen.stdout


def test_all_baselines_are_runs_of_one_table(cli, tmp_path, build_toy, monkeypatch, _quick_intervals):
    from clipfuse import slow_fits
    from clipfuse.baselines import BASELINES
    from clipfuse_cache import FeatureTable

    monkeypatch.setattr(slow_fits, "SAMPLE_ROWS", 20)  # few enough for slow ones to be tried
    taken, take = [], FeatureTable.take
    monkeypatch.setattr(FeatureTable, "take", lambda table, ids: taken.append(table) or take(table, ids))
    build_toy(tmp_path / "features" / "toy", rows=80)
    result = cli("train-head", "--head", "all-baselines", "--fusion", "text", "--cache", "features/toy")
    assert result.exit_code == 0, result.stderr
    kinds = {open_run(path).metrics["kind"] for path in list_runs(tmp_path / "runs")}
    assert kinds == {f"{name}-text" for name in BASELINES}
    assert all(kind in result.stdout for kind in kinds)
    assert len(taken) == 1  # of all of them together
    assert result.stderr.count("scaled to 0 to 1") == 2  # the two kinds of naive Bayes
    words = cli("train-head", "--head", "multinomial-nb", "--features", "tfidf", "--cache", "features/toy")
    assert words.exit_code == 0 and "scaled" not in words.stderr and "multinomial-nb-tfidf" in words.stderr
    for one in ("head.kind=knn", "head=knn"):
        refused = cli("train-head", "--head", "all-baselines", "--set", one, "--cache", "features/toy")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "--head all-baselines and another one by --set are given. Choose one of them" in refused.stderr
    refused = cli("train-head", "--head", "all-baselines", "--epochs", 3, "--cache", "features/toy")
    assert refused.exit_code == 2 and "fit.epochs" in refused.stderr
