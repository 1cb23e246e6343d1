"""A run's graph computes what its predictor says."""

import numpy as np
import pytest
import torch

from clipfuse.calibration import Calibration
from clipfuse.errors import ExportError
from clipfuse.export.graph import RunGraph, probability_graph, stream_models
from clipfuse.export.sources import GivenFeatures, GraphInput
from clipfuse.models import build_model
from clipfuse.predictor import AveragePredictor, CalibratedPredictor, EnsemblePredictor, TorchPredictor
from clipfuse.streams import Streams

DIMS = {"image": 10, "text": 8}
LABELS = 3


def fusion(settings, seed=0, kind="sum"):
    model = build_model(settings(kind), DIMS, LABELS, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return TorchPredictor(model.eval())


def drawn(views=0, rows=7):
    generator = torch.Generator().manual_seed(3)
    shapes = {name: (rows, 1, dim) for name, dim in DIMS.items()}
    return Streams(
        {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()},
        {name: torch.arange(rows) % (2 + number) != 0 for number, name in enumerate(DIMS)},
        {"image": tuple(torch.randn(shapes["image"], generator=generator) for _ in range(views))} if views else {},
    )


def of(predictor, streams):
    """What the graph says, from tensors by place."""
    sources = {
        name: tuple(GivenFeatures(GraphInput(name, one, "")) for one in (value, *streams.views.get(name, ())))
        for name, value in streams.values.items()
    }
    graph = RunGraph(sources, probability_graph(predictor)).eval()
    values = [one.input.example for those in sources.values() for one in those]
    with torch.inference_mode():
        return graph(*values, *streams.present.values()).numpy()


def test_alone_in_an_ensemble_over_views_and_calibrated(settings):
    members = tuple(fusion(settings, seed) for seed in range(3))
    ensemble = EnsemblePredictor(members)
    calibration = Calibration("platt", (0.05, 1.0, 3.0), (0.5, -1.0, 0.0))
    for predictor, views in (
        (members[0], 0),
        (members[0].stored("int8"), 0),
        (ensemble, 0),
        (AveragePredictor(ensemble), 2),
        (CalibratedPredictor(AveragePredictor(ensemble.stored("float16")), calibration), 1),
    ):
        streams = drawn(views)
        np.testing.assert_allclose(of(predictor, streams), predictor.probabilities(streams), atol=1e-6)
    assert len(stream_models(probability_graph(ensemble))) == 3


def test_calibration_tells_large_logits_apart(settings):
    predictor = CalibratedPredictor(fusion(settings), Calibration("platt", (0.05,) * 3, (-1.0,) * 3))
    with torch.no_grad():
        predictor.inner.model.combiner.bias.fill_(22.0)
    streams = drawn()
    found = predictor.probabilities(streams)
    np.testing.assert_allclose(of(predictor, streams), found, atol=1e-6)
    assert len(np.unique(found.round(9))) > 15  # in float32 all logits above 17 are one


def test_estimators_of_scikit_learn_are_refused(scenes, settings):
    with pytest.raises(ExportError, match=r"head knn is scikit-learn's.*--to bundle.*--head linear"):
        probability_graph(scenes.runs["knn"].predictor())
