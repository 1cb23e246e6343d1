"""``import clipfuse``: what is there, what it loads, and both stages from Python."""

import ast
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import clipfuse

KEPT = {
    "ClipfuseError",
    "FeatureCache",
    "FusionClassifier",
    "LoadedPrediction",
    "LoadedRun",
    "Run",
    "__version__",
    "extract_features",
    "load_run",
    "open_run",
    "side_by_side",
    "train",
}


def test_the_public_names_are_these():
    assert set(clipfuse.__all__) == KEPT
    assert set(dir(clipfuse)) >= KEPT
    for name in KEPT - {"__version__"}:
        found = getattr(clipfuse, name)
        assert found.__name__ == name and inspect.getdoc(found)
    assert clipfuse.__version__ == version("clipfuse")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = clipfuse.nothing


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(clipfuse.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {alias.name: node.module for node in checked.body for alias in node.names}
    assert homes == clipfuse._HOMES
    assert set(homes) == KEPT - {"__version__"}


def test_importing_it_loads_nothing():
    code = "import sys, clipfuse; print(sorted({'torch', 'numpy', 'sklearn', 'h5py'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("python")
    cache = clipfuse.extract_features(scenes.table, images=scenes.images, cache=folder / "features", device="cpu")
    settings = {"fit": {"epochs": 2}, "head": {"hidden": (16,)}}
    return cache, clipfuse.train(cache, settings=settings, runs=folder / "runs", device="cpu")


def test_both_stages(trained, scenes):
    cache, run = trained
    assert len(cache.samples()) == len(scenes.cache.samples()) and cache.ledger.exists()
    assert run.config.fusion.kind == "sum" and run.config.fit.epochs == 2
    assert run.metrics["scores"]["test"]["scores"]["mean_average_precision"] > 0.2
    picture = next(scenes.images.glob("*.jpg"))
    found = clipfuse.load_run(run.path, device="cpu").predict(images=[picture, None], captions=["a dog", "a dog"])
    assert found.probabilities.shape == (2, len(run.labels)) and np.isfinite(found.probabilities).all()


def test_settings_of_the_commands(trained, tmp_path):
    cache, _ = trained
    knn = clipfuse.train(cache.root, head="knn", split={"test": 0.3}, runs=tmp_path, device="cpu")
    assert knn.config.fusion.kind == "concat" and knn.name.endswith("knn-concat")
    assert knn.metrics["split"]["name"] == "stratified-v0.1-t0.3-s0"
    recipe = clipfuse.train(cache, recipe="s4-fcnn", settings={"fit": {"epochs": 1}}, runs=tmp_path, device="cpu")
    assert recipe.config.recipe == "s4-fcnn" and recipe.config.fusion.kind == "concat"
    with pytest.raises(clipfuse.ClipfuseError, match="epoch"):
        clipfuse.train(cache, settings={"fit": {"epoch": 1}}, runs=tmp_path)


def test_paths_may_be_strings(trained):
    cache, run = trained
    assert clipfuse.open_run(str(run.path)).labels == run.labels
    assert clipfuse.FeatureCache(str(cache.root)).samples().ids == cache.samples().ids


def test_one_encoder_is_a_list_too(tmp_path):
    with pytest.raises(TypeError, match="a list of names, not str"):
        clipfuse.extract_features(tmp_path / "a.csv", encoders="mini")


def test_a_test_table_and_columns(tmp_path):
    for name, rows in (("a", 40), ("b", 10)):
        colours = [("red", "blue")[row % 2] for row in range(rows)]
        lines = [f"{name}{row};a {colour} thing {row};{colour}" for row, colour in enumerate(colours)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["key;words;tags", *lines]), encoding="utf-8")
    columns = {"id_column": "key", "caption_column": "words", "label_column": "tags"}
    cache = clipfuse.extract_features(
        tmp_path / "a.csv", test_table=tmp_path / "b.csv", columns=columns, cache=tmp_path / "cache", device="cpu"
    )
    run = clipfuse.train(cache, fusion="text", head="linear", runs=tmp_path / "runs", device="cpu")
    assert run.metrics["rows"]["test"] == 10 and set(run.labels) == {"red", "blue"}
