"""A trained model of any kind: streams in, probabilities out; saved without pickle."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.baselines import EstimatorHead, load_estimator
from clipfuse.calibration import Calibration
from clipfuse.errors import RunError
from clipfuse.models import build_model, count_parameters
from clipfuse.storage import Storage, pack, unpack
from clipfuse.stream_model import StreamModel
from clipfuse.streams import Streams
from clipfuse.train_config import TrainConfig
from clipfuse.training.validation import predict_logits

CALIBRATION = "calibration.json"
ESTIMATOR = ".skops"
"""Ends the names of estimators' files."""


class Predictor(Protocol):
    """A trained model."""

    @property
    def streams(self) -> tuple[str, ...]:
        """What it reads."""
        ...

    @property
    def parameters(self) -> int:
        """Trained numbers, encoders and scalers left out; for kNN the stored training rows' numbers."""
        ...

    def stored(self, storage: Storage) -> Predictor:
        """What is left of it when its weights are stored like that."""
        ...

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Streams as the cache has them -> (rows, labels) probabilities."""
        ...

    def files(self) -> dict[str, bytes]:
        """What :func:`load_predictor` needs: file name -> content, none of it pickled."""
        ...


@dataclass(frozen=True)
class TorchPredictor:
    """A fusion. ``packed``: its weights as they are stored, where that is not float32."""

    model: StreamModel
    packed: Mapping[str, torch.Tensor] | None = field(default=None, repr=False)

    @property
    def streams(self) -> tuple[str, ...]:
        """What it reads."""
        return self.model.streams

    @property
    def parameters(self) -> int:
        """Trained numbers of heads and fusion."""
        return count_parameters(self.model)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Name -> tensor as it is stored."""
        found = self.model.state_dict() if self.packed is None else self.packed
        return {name: value.contiguous() for name, value in found.items()}

    def stored(self, storage: Storage) -> TorchPredictor:
        """What is left of it when it is stored like that: it predicts with the rounded weights."""
        if storage == "float32" or self.packed is not None:
            return self
        packed = pack(self.model.state_dict(), storage, [name for name, _ in self.model.named_buffers()])
        model = copy.deepcopy(self.model)
        model.load_state_dict(unpack(packed))
        return TorchPredictor(model, packed)

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Streams as the cache has them -> (rows, labels) probabilities."""
        # in float64: in float32 all logits above 17 are one, and a calibration could not tell them apart
        return torch.sigmoid(predict_logits(self.model, streams).double()).cpu().numpy()

    def files(self) -> dict[str, bytes]:
        """One safetensors file with heads, fusion and scalers; one of skops for each estimator, called by its place."""
        from safetensors.torch import save

        return {"model.safetensors": save(self.weights), **self.estimators}

    @property
    def estimators(self) -> dict[str, bytes]:
        """File name -> each of scikit-learn's estimators that stands in place of a head; most models have none."""
        found = {name: module for name, module in self.model.named_modules() if isinstance(module, EstimatorHead)}
        return {f"{name}{ESTIMATOR}": m.estimator.to_bytes() for name, m in found.items() if m.estimator is not None}


@dataclass(frozen=True)
class EnsemblePredictor:
    """Several fusions of one shape: the mean of their probabilities."""

    members: tuple[TorchPredictor, ...]

    @property
    def streams(self) -> tuple[str, ...]:
        """What it reads."""
        return self.members[0].streams

    @property
    def parameters(self) -> int:
        """Trained numbers of all members."""
        return sum(member.parameters for member in self.members)

    def stored(self, storage: Storage) -> EnsemblePredictor:
        """Of members that are stored like that."""
        return EnsemblePredictor(tuple(member.stored(storage) for member in self.members))

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Streams as the cache has them -> (rows, labels) probabilities."""
        return np.asarray(np.mean([member.probabilities(streams) for member in self.members], axis=0))

    def files(self) -> dict[str, bytes]:
        """One safetensors file; a member's weights have its number in front."""
        from safetensors.torch import save

        numbered = list(enumerate(self.members))
        weights = {f"{n}.{name}": weight for n, member in numbered for name, weight in member.weights.items()}
        estimators = {f"{n}.{name}": content for n, member in numbered for name, content in member.estimators.items()}
        return {"model.safetensors": save(weights), **estimators}


@dataclass(frozen=True)
class WrappedPredictor:
    """Something done with what another one says."""

    inner: Predictor

    @property
    def streams(self) -> tuple[str, ...]:
        """What the other one reads."""
        return self.inner.streams

    @property
    def parameters(self) -> int:
        """Those of the other one."""
        return self.inner.parameters

    def stored(self, storage: Storage) -> Self:
        """The same of what is left of the other one."""
        return replace(self, inner=self.inner.stored(storage))


@dataclass(frozen=True)
class AveragePredictor(WrappedPredictor):
    """Another one, asked of the inputs as they are and of each of their views: the mean of its probabilities."""

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Streams as the cache has them, with views -> (rows, labels) probabilities."""
        total = self.inner.probabilities(streams.view(0))
        for number in range(1, streams.versions):
            total = total + self.inner.probabilities(streams.view(number))
        return total / streams.versions

    def files(self) -> dict[str, bytes]:
        """Those of the other one; the settings say that views are averaged."""
        return self.inner.files()


def over_views(predictor: Predictor, config: TrainConfig) -> Predictor:
    """The predictor as the settings want it: averaged over views, or as it is."""
    return AveragePredictor(predictor) if config.average_views else predictor


@dataclass(frozen=True)
class CalibratedPredictor(WrappedPredictor):
    """A predictor whose probabilities are calibrated."""

    calibration: Calibration

    def probabilities(self, streams: Streams) -> NDArray[np.float64]:
        """Streams as the cache has them -> (rows, labels) probabilities."""
        return self.calibration.apply(self.inner.probabilities(streams))

    def files(self) -> dict[str, bytes]:
        """Those of what is calibrated, and one of JSON."""
        return {**self.inner.files(), CALIBRATION: json.dumps(self.calibration.to_dict()).encode()}


def load_predictor(
    files: Mapping[str, bytes], config: TrainConfig, dims: Mapping[str, int], labels: Sequence[str]
) -> Predictor:
    """The model in ``files`` (see :meth:`Predictor.files`) for these streams and labels, on the CPU.

    Raises:
        RunError: a file is missing or damaged, of another shape, or holds a type that is not allowed.
    """
    try:
        found = over_views(_load(files, config, dims, len(labels)), config)
        if CALIBRATION in files:
            found = CalibratedPredictor(found, Calibration.from_dict(json.loads(files[CALIBRATION])))
    except Exception as error:  # each library has its own
        raise RunError(f"the model can't be loaded ({error})", "Train the run again") from error
    return found


def _load(files: Mapping[str, bytes], config: TrainConfig, dims: Mapping[str, int], labels: int) -> Predictor:
    from safetensors.torch import load

    packed = load(files["model.safetensors"])
    estimators = {name.removesuffix(ESTIMATOR): content for name, content in files.items() if name.endswith(ESTIMATOR)}
    if config.ensemble.kind == "none":
        return _load_fusion(packed, estimators, config, dims, labels)
    members = []
    for n in range(config.ensemble.size):
        own = {name.removeprefix(f"{n}."): value for name, value in packed.items() if name.startswith(f"{n}.")}
        fitted = {name.removeprefix(f"{n}."): value for name, value in estimators.items() if name.startswith(f"{n}.")}
        members.append(_load_fusion(own, fitted, config, dims, labels))
    return EnsemblePredictor(tuple(members))


def _load_fusion(
    packed: Mapping[str, torch.Tensor],
    estimators: Mapping[str, bytes],
    config: TrainConfig,
    dims: Mapping[str, int],
    labels: int,
) -> TorchPredictor:
    model = build_model(config, dims, labels, seed=config.seed).eval()
    model.load_state_dict(unpack(packed))
    for name, module in model.named_modules():
        if isinstance(module, EstimatorHead):
            module.estimator = load_estimator(estimators[name], module.choice)
    return TorchPredictor(model, None if config.storage == "float32" else packed)
