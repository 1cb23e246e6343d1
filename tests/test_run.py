"""Run directories: complete or not one, and never a number that was not written."""

import json
import os
import shutil
from datetime import datetime

import numpy as np
import pytest

from clipfuse import run as module
from clipfuse.bench import bench
from clipfuse.errors import RunError
from clipfuse.run import create_folder, list_runs, newest_run, open_run
from clipfuse.train_head import train_head


@pytest.fixture(scope="module")
def trained(toy, settings, tmp_path_factory):
    """Runs that no test changes: kind -> Run."""
    runs = tmp_path_factory.mktemp("runs")
    configs = {
        "sum": settings("sum"),
        "knn": settings("concat", "knn"),
        "image": settings("image", thresholds="common"),
    }
    return {
        kind: train_head(toy.cache, toy.samples, toy.split(), config, runs=runs) for kind, config in configs.items()
    }


@pytest.fixture
def copied(trained, tmp_path):
    """kind -> a copy of that run that may be damaged."""
    return lambda kind: open_run(shutil.copytree(trained[kind].path, tmp_path / trained[kind].name))


def test_what_is_written(trained):
    run = trained["sum"]
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert names == {
        "README.md",
        "config.toml",
        "environment.json",
        "history.jsonl",
        "metrics.json",
        "model/model.json",
        "model/model.safetensors",
        "predictions.h5",
        "thresholds.json",
    }
    knn = {path.name for path in (trained["knn"].path / "model").iterdir()}
    assert knn == {"fusion.head.skops", "model.json", "model.safetensors"}
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["device"] == "cpu" and environment["libraries"]["torch"]
    assert run.model_bytes == sum(path.stat().st_size for path in (run.path / "model").iterdir())
    assert run.encoder_bytes == 1000  # both streams come from one file of weights


def test_a_run_that_is_opened_again_is_the_same(trained):
    for run in trained.values():
        again = open_run(run.path)
        assert again == run
        assert again.config == run.config
        assert np.array_equal(again.predictions().probabilities, run.predictions().probabilities)
        assert again.layout.separator == "|" and again.layout.columns == ("id", "image", "caption", "labels")
    assert trained["image"].thresholds().shape == (4,)


def test_trivial_rows_come_back(trained):
    rows = trained["sum"].trivial_rows()
    assert [row.name for row in rows] == [row["name"] for row in trained["sum"].metrics["trivial"]]
    assert rows[0].predict(3).shape == (3, 4)


def write_until(run, name, monkeypatch, tmp_path, toy, settings):
    """Train, and die (as far as this process can) when ``name`` is to be written."""
    write = module.write_bytes

    class Killed(BaseException):
        pass

    def killed(path, data):
        if path.name == name:
            raise Killed
        write(path, data)

    monkeypatch.setattr(module, "write_bytes", killed)
    monkeypatch.setattr("clipfuse.run.shutil.rmtree", lambda *_, **__: None)  # a kill clears nothing up
    with pytest.raises(Killed):
        train_head(toy.cache, toy.samples, toy.split(), settings("image", epochs=1), runs=tmp_path)
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["config.toml", "model.safetensors", "predictions.h5", "metrics.json"])
def test_a_crash_before_metrics_json_leaves_a_run_that_is_not_complete(toy, settings, tmp_path, monkeypatch, name):
    whole = train_head(toy.cache, toy.samples, toy.split(), settings("text", epochs=1), runs=tmp_path)
    write_until(None, name, monkeypatch, tmp_path, toy, settings)
    (crashed,) = set(tmp_path.iterdir()) - {whole.path}
    assert not (crashed / "metrics.json").exists()
    with pytest.raises(RunError, match=r"is not complete \(it has no metrics\.json"):
        open_run(crashed)
    assert set(list_runs(tmp_path)) == {whole.path, crashed}
    assert newest_run(tmp_path) == whole.path
    (group,), problems = bench(tmp_path)
    assert [row.name for row in group.runs] == [whole.name]
    assert len(problems) == 1 and crashed.name in problems[0] and "not complete" in problems[0]


def test_a_disk_that_fills_leaves_nothing(toy, settings, tmp_path, monkeypatch):
    from clipfuse.errors import DiskFull

    write = module.write_bytes

    def full(path, data):
        if path.name == "predictions.h5":
            raise DiskFull("no space left")
        write(path, data)

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(DiskFull):
        train_head(toy.cache, toy.samples, toy.split(), settings("image", epochs=1), runs=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["sum", "knn"])
def test_any_byte_that_changed_is_noticed(copied, kind):
    run = copied(kind)
    uses = {
        "config.toml": lambda: open_run(run.path),
        "thresholds.json": lambda: open_run(run.path).thresholds(),
        "predictions.h5": lambda: open_run(run.path).predictions(),
    }
    names = [f"model/{path.name}" for path in (run.path / "model").iterdir()]
    for name in [*uses, *names]:
        use = uses.get(name, lambda: open_run(run.path).predictor())
        path = run.path / name
        whole = path.read_bytes()
        use()
        for place in (0, len(whole) // 2, len(whole) - 1):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(RunError, match=rf"{path.name} is not what was written"):
                use()
        path.unlink()
        with pytest.raises(RunError, match=rf"can't read .*{path.name}.*Train the run again"):
            use()
        path.write_bytes(whole)
        use()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"format": "clipfuse-run", "version": 1}']
)
def test_a_metrics_json_that_is_none(copied, content):
    run = copied("image")
    (run.path / "metrics.json").write_bytes(content)
    with pytest.raises(RunError, match=r"damaged|another version"):
        open_run(run.path)
    groups, problems = bench(run.path.parent)
    assert not groups and len(problems) == 1


def test_a_run_of_another_version(copied):
    run = copied("image")
    metrics = {**run.metrics, "version": 99}
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(RunError, match=r"another version of clipfuse"):
        open_run(run.path)


def replace_file(run, name, data):
    """As one who wants to be believed would: with the SHA-256 that fits."""
    import hashlib

    (run.path / name).write_bytes(data)
    metrics = {**run.metrics, "files": {**run.metrics["files"], name: hashlib.sha256(data).hexdigest()}}
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    return open_run(run.path)


def test_weights_of_another_shape_are_refused(copied):
    from safetensors.torch import load, save

    run = copied("image")
    weights = load((run.path / "model" / "model.safetensors").read_bytes())
    first = next(iter(weights))
    foreign = replace_file(run, "model/model.safetensors", save({**weights, first: weights[first][:1].clone()}))
    with pytest.raises(RunError, match=r"model can't be loaded .*\s.*size mismatch"):
        foreign.predictor()


class Evil:
    """Opens a file when it is unpickled or built by name."""

    def __init__(self):
        self.path = "should-not-be"

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_an_estimator_of_a_foreign_type_is_refused(copied):
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import FunctionTransformer

    run = copied("knn")
    for foreign, why in (
        (FunctionTransformer(os.getcwd), "Untrusted types"),
        (Evil(), "Untrusted types"),
        (LogisticRegression().fit([[0.0], [1.0]], [0, 1]), "LogisticRegression is no knn"),
    ):
        content = {"pipeline": foreign, "constant": np.zeros(4)}
        changed = replace_file(run, "model/fusion.head.skops", skops.io.dumps(content))
        with pytest.raises(RunError, match=f"model can't be loaded .*{why}"):
            changed.predictor()


def test_nothing_is_unpickled(copied, monkeypatch):
    import pickle

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr("torch.load", refuse)
    for kind in ("sum", "knn"):
        run = copied(kind)
        run.predictor()
        run.predictions()
    pickled = b"cos\nmkdir\n(S'st6-pickled'\ntR."
    for kind, name in (("knn", "fusion.head.skops"), ("sum", "model.safetensors")):
        (path,) = (path for path in list_runs(run.path.parent) if kind in path.name)
        with pytest.raises(RunError, match=r"can't be loaded"):
            replace_file(open_run(path), f"model/{name}", pickled).predictor()


def test_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory.*clipfuse bench"):
        open_run(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"is not a run directory"):
        open_run(tmp_path / "file")
    with pytest.raises(RunError, match=r"not complete"):
        open_run(tmp_path)


def test_the_newest_run(trained, tmp_path):
    with pytest.raises(RunError, match=r"no complete run in .*train-head"):
        newest_run(tmp_path)
    with pytest.raises(RunError, match=r"no complete run in"):
        newest_run(tmp_path / "nothing")
    for n, kind in enumerate(("image", "sum", "knn")):
        path = shutil.copytree(trained[kind].path, tmp_path / f"{9 - n}-{kind}")
        os.utime(path / "metrics.json", (1_000_000 + n, 1_000_000 + n))
    assert newest_run(tmp_path).name == "7-knn"
    for file in (path / "model").iterdir():  # as a cross-validation leaves it
        if file.name != "model.json":
            file.unlink()
    assert newest_run(tmp_path).name == "7-knn"
    assert newest_run(tmp_path, with_model=True).name == "8-sum"
    shutil.rmtree(tmp_path / "8-sum")
    shutil.rmtree(tmp_path / "9-image")
    assert newest_run(tmp_path, with_model=True).name == "7-knn"  # which says why it can't predict


def test_a_run_folder_is_new(tmp_path):
    now = datetime(2026, 1, 31, 12)
    names = [create_folder(tmp_path / "a" / "b", "sum", now).name for _ in range(12)]
    assert len(set(names)) == 12 and names[0] == "20260131-120000-sum"


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match=r"can't make a run directory in .*runs"):
        create_folder(tmp_path / "runs", "sum", datetime(2026, 1, 31))
