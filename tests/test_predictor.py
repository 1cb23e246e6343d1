"""Trained models in memory and as files."""

import numpy as np
import pytest
import torch

from clipfuse.baselines import EstimatorHead
from clipfuse.errors import RunError
from clipfuse.models import build_model
from clipfuse.predictor import TorchPredictor, load_predictor
from clipfuse.streams import Streams
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.scaling import set_scalers, stream_moments

DIMS = {"image": 5, "text": 3}
LABELS = ("a", "b")


def streams(rows=30, tokens=1):
    generator = torch.Generator().manual_seed(rows)
    values = {name: torch.randn(rows, tokens, dim, generator=generator) * 5 + 2 for name, dim in DIMS.items()}
    return Streams(values, {name: torch.rand(rows, generator=generator) > 0.2 for name in DIMS})


def moments(found):
    return stream_moments(RowsInMemory(found, torch.zeros(len(found), 2)), torch.arange(len(found)))


def make(settings, kind):
    found = streams()
    fusion, _, head = kind.partition(" of ")
    config = settings(fusion, head or "mlp")
    model = build_model(config, DIMS, 2, seed=0)
    set_scalers([model], moments(found))
    targets = np.random.default_rng(0).random((30, 2)) < 0.5
    for module in model.modules():
        if isinstance(module, EstimatorHead):
            features = np.random.default_rng(1).normal(size=(30, module.dim)).astype(np.float32)
            module.fit(features, targets, seed=0)
    return config, TorchPredictor(model)


@pytest.mark.parametrize("kind", ["concat", "sum", "mixed", "average", "gated", "concat of knn", "sum of ridge"])
def test_round_trip(settings, kind):
    config, predictor = make(settings, kind)
    found = predictor.probabilities(streams())
    assert found.shape == (30, 2) and found.dtype == np.float64
    assert found.min() >= 0 and found.max() <= 1
    again = load_predictor(predictor.files(), config, DIMS, LABELS)
    assert again.streams == ("image", "text")
    assert again.parameters == predictor.parameters > 0
    assert np.array_equal(again.probabilities(streams()), found)
    one = again.probabilities(streams().rows(slice(0, 1)))
    np.testing.assert_allclose(one, found[:1], atol=1e-6)


def test_streams_that_it_does_not_read_are_left_alone(settings):
    predictor = TorchPredictor(build_model(settings("text"), {"text": 3}, 2, seed=0))
    assert np.array_equal(predictor.probabilities(streams()), predictor.probabilities(streams().only(["text"])))


def test_numbers_that_were_trained(settings):
    _, predictor = make(settings, "concat")
    assert predictor.parameters == (8 * 16 + 16) + (16 * 2 + 2) + 8  # and what stands for absent inputs
    _, knn = make(settings, "concat of knn")
    assert knn.parameters >= 30 * 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: {},
        lambda files: dict.fromkeys(files, b""),
        lambda files: {name: data[: len(data) // 2] for name, data in files.items()},
        lambda files: dict.fromkeys(files, b"\x80\x04N."),
    ],
    ids=["missing", "empty", "cut short", "pickled"],
)
@pytest.mark.parametrize("kind", ["sum", "concat of knn"])
def test_files_that_are_none(settings, kind, damage):
    config, predictor = make(settings, kind)
    with pytest.raises(RunError, match=r"model can't be loaded.*Train the run again"):
        load_predictor(damage(predictor.files()), config, DIMS, LABELS)


def test_another_model_is_refused(settings):
    _, predictor = make(settings, "concat")
    for config, dims, labels in (
        (settings("sum"), DIMS, LABELS),
        (settings("concat"), {"image": 5, "text": 4}, LABELS),
        (settings("concat"), DIMS, ("a", "b", "c")),
        (settings("concat", "knn"), DIMS, LABELS),
    ):
        with pytest.raises(RunError, match=r"model can't be loaded"):
            load_predictor(predictor.files(), config, dims, labels)
