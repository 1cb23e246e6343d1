"""A trained model of either kind: streams in, probabilities out; saved without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clipfuse.baselines import BASELINES, label_scores
from clipfuse.config import TrainConfig
from clipfuse.errors import RunError
from clipfuse.models import build_model, count_parameters
from clipfuse.scaler import Scaler
from clipfuse.streams import Streams, scale
from clipfuse.train import predict_probabilities

TRUSTED_TYPES = (
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._classification.KNeighborsClassifier",
)
"""What a saved estimator may consist of besides what skops trusts: numpy arrays, plain values, scikit-learn's own."""


class Predictor(Protocol):
    """A trained model."""

    @property
    def scalers(self) -> Mapping[str, Scaler]:
        """Stream -> its scaler; the streams that the model reads, in order."""
        ...

    @property
    def parameters(self) -> int:
        """Trained numbers, encoders and scalers left out; for kNN the stored training rows' numbers."""
        ...

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Unscaled streams -> (rows, labels) probabilities."""
        ...

    def files(self) -> dict[str, bytes]:
        """What :func:`load_predictor` needs: file name -> content, none of it pickled."""
        ...


@dataclass(frozen=True)
class TorchPredictor:
    """A fusion with its scalers."""

    model: nn.Module
    scalers: Mapping[str, Scaler]

    @property
    def parameters(self) -> int:
        """Trained numbers of heads and fusion."""
        return count_parameters(self.model)

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Unscaled streams -> (rows, labels) probabilities."""
        with torch.inference_mode():
            found = predict_probabilities(self.model, scale(streams.only(list(self.scalers)), self.scalers))
        return found.double().cpu().numpy()

    def files(self) -> dict[str, bytes]:
        """One safetensors file with heads, fusion and scalers."""
        from safetensors.torch import save

        return {"model.safetensors": save(self.module().state_dict())}

    def module(self) -> nn.Module:
        """All that is saved: the fusion and the scalers."""
        return nn.ModuleDict({"fusion": self.model, "scalers": nn.ModuleDict(dict(self.scalers))})


@dataclass(frozen=True)
class EstimatorPredictor:
    """A scikit-learn estimator on the joined streams, with their scalers."""

    estimator: Any
    scalers: Mapping[str, Scaler]
    labels: int

    @property
    def parameters(self) -> int:
        """Numbers in the estimator's arrays: for kNN the training rows."""
        return sum(value.size for value in vars(self.estimator).values() if isinstance(value, np.ndarray))

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Unscaled streams -> (rows, labels) probabilities."""
        scaled = scale(streams.only(list(self.scalers)), self.scalers)
        return label_scores(self.estimator, scaled.joined().cpu().numpy(), self.labels)

    def files(self) -> dict[str, bytes]:
        """skops for the estimator, safetensors for the scalers."""
        import skops.io
        from safetensors.torch import save

        scalers = nn.ModuleDict(dict(self.scalers))
        return {"estimator.skops": skops.io.dumps(self.estimator), "scalers.safetensors": save(scalers.state_dict())}


def load_predictor(
    files: Mapping[str, bytes], config: TrainConfig, dims: Mapping[str, int], labels: Sequence[str]
) -> Predictor:
    """The model in ``files`` (see :meth:`Predictor.files`) for these streams and labels, on the CPU.

    Raises:
        RunError: a file is missing or damaged, of another shape, or holds a type that is not allowed.
    """
    from safetensors.torch import load

    scalers = {name: Scaler(dim) for name, dim in dims.items()}
    try:
        if config.head.kind in BASELINES:
            import skops.io

            nn.ModuleDict(dict(scalers)).load_state_dict(load(files["scalers.safetensors"]))
            estimator = skops.io.loads(files["estimator.skops"], trusted=list(TRUSTED_TYPES))
            if type(estimator) is not type(BASELINES.get(config.head.kind)(config.head, 1)):
                raise TypeError(f"{type(estimator).__name__} is no {config.head.kind}")
            return EstimatorPredictor(estimator, scalers, len(labels))
        predictor = TorchPredictor(build_model(config, dims, len(labels), seed=config.seed).eval(), scalers)
        predictor.module().load_state_dict(load(files["model.safetensors"]))
    except Exception as error:  # each library has its own
        raise RunError(f"the model can't be loaded ({error})", "Train the run again") from error
    return predictor
