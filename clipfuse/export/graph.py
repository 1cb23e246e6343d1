"""A trained model as one graph of tensors, in the order of operations of its predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from clipfuse.baselines import EstimatorHead
from clipfuse.calibration import EDGE, Calibration
from clipfuse.errors import ExportError
from clipfuse.export.sources import Source
from clipfuse.predictor import (
    AveragePredictor,
    CalibratedPredictor,
    EnsemblePredictor,
    Predictor,
    TorchPredictor,
)
from clipfuse.stream_model import StreamModel
from clipfuse.streams import Streams


class RunGraph(nn.Module):
    """Tensors by place to probabilities: first what the sources of each stream read, then each stream's present mask.

    Args:
        sources: stream -> what its features come from, and those of its views.
        probabilities: see :func:`probability_graph`.
    """

    def __init__(self, sources: Mapping[str, Sequence[Source]], probabilities: nn.Module) -> None:
        super().__init__()
        self._sources = sources
        self.probabilities = probabilities

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """-> (batch, labels) float32."""
        left = iter(tensors)
        features = {
            name: [source.features([next(left) for _ in source.inputs]) for source in those]
            for name, those in self._sources.items()
        }
        streams = Streams(
            {name: found[0] for name, found in features.items()},
            {name: next(left) for name in self._sources},
            {name: tuple(found[1:]) for name, found in features.items() if found[1:]},
        )
        found: torch.Tensor = self.probabilities(streams)
        return found.float()


def probability_graph(predictor: Predictor) -> nn.Module:
    """What a predictor computes: ``Streams`` to (rows, labels) float64 probabilities.

    Raises:
        ExportError: it has an estimator of scikit-learn's, or is of an unknown kind.
    """
    if isinstance(predictor, CalibratedPredictor):
        return _Calibrated(probability_graph(predictor.inner), predictor.calibration)
    if isinstance(predictor, AveragePredictor):
        return _OverViews(probability_graph(predictor.inner))
    if isinstance(predictor, EnsemblePredictor):
        return _Mean([_checked(member.model) for member in predictor.members])
    if isinstance(predictor, TorchPredictor):
        return _Mean([_checked(predictor.model)])
    raise ExportError(f"a {type(predictor).__name__} has no graph of tensors", "Use --to bundle")


def stream_models(graph: nn.Module) -> list[StreamModel]:
    """The fusions in it."""
    return [one for mean in graph.modules() if isinstance(mean, _Mean) for one in mean.models]


def _checked(model: StreamModel) -> StreamModel:
    for module in model.modules():
        if isinstance(module, EstimatorHead):
            raise ExportError(
                f"head {module.choice.kind} is scikit-learn's, and no graph of tensors",
                "Use --to bundle, or train a head that is one: clipfuse train-head --head linear",
            )
    return model.eval()


class _Mean(nn.Module):
    """The mean of some fusions' probabilities."""

    def __init__(self, models: Sequence[StreamModel]) -> None:
        super().__init__()
        self.models: Sequence[StreamModel] = nn.ModuleList(models)  # type: ignore[assignment]

    def forward(self, streams: Streams) -> torch.Tensor:
        each = []
        for model in self.models:
            own = streams.only(model.streams)
            each.append(torch.sigmoid(model(own.values, own.present).float().double()))
        return each[0] if len(each) == 1 else torch.stack(each).mean(0)


class _OverViews(nn.Module):
    """The mean over the inputs as they are and each of their views."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, streams: Streams) -> torch.Tensor:
        each = [self.inner(streams.view(number)) for number in range(streams.versions)]
        return torch.stack(each).mean(0)


class _Calibrated(nn.Module):
    """See :class:`clipfuse.calibration.Calibration`."""

    slopes: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, inner: nn.Module, calibration: Calibration) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("slopes", torch.tensor(calibration.slopes, dtype=torch.float64))
        self.register_buffer("offsets", torch.tensor(calibration.offsets, dtype=torch.float64))

    def forward(self, streams: Streams) -> torch.Tensor:
        safe = self.inner(streams).clamp(EDGE, 1 - EDGE)
        return torch.sigmoid(self.slopes * (safe.log() - (1 - safe).log()) + self.offsets)
