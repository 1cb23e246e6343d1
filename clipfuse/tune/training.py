"""Training the settings of a search, several side by side, on training rows; scoring them on validation rows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from clipfuse.data.split import Role, Split
from clipfuse.errors import ConfigError, TrainingError
from clipfuse.fusions import STACKED, StackedFusion
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.metrics import METRICS, evaluate
from clipfuse.model_inputs import JointModel
from clipfuse.models import build_model, count_parameters
from clipfuse.select_streams import check_inputs, select_streams
from clipfuse.stream_tables import StreamTables
from clipfuse.train_config import TrainConfig
from clipfuse.training.members import can_be_together
from clipfuse.training.train_models import Fitted, Trainee, train_models
from clipfuse.training.validation import predict_rows
from clipfuse.tune.results import Result
from clipfuse.tune.space import Point
from clipfuse.zero_shot import find_label_vectors
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.fingerprint import rows_digest

SEEN: tuple[Role, ...] = ("train", "validation")
"""The only rows that a search reads."""

MOST_TOGETHER = 16
"""Trainings of one batch: more lose more work to an interruption and gain little."""

MOST_BYTES = 2 << 30
"""Weights, gradients and moments of one batch."""

_PER_MEMBER = {"learning_rate", "weight_decay", "dropout", "seed"}
"""What may differ among trainings that are one batched model."""


@dataclass(frozen=True)
class Training:
    """One setting with one seed. ``key`` names everything that decides it."""

    key: str
    config: TrainConfig
    settings: Point


@dataclass
class TuneRows:
    """A split's training and validation rows, read when first needed; never its test rows."""

    cache: FeatureCache
    samples: Samples
    split: Split
    device: str
    _loaded: dict[str, LabelledRows] = field(default_factory=dict)
    _chosen: dict[str, tuple[StreamTables, str]] = field(default_factory=dict)
    _labels: str = ""

    def __post_init__(self) -> None:
        assert self.samples.labels is not None
        ids = [name for role in SEEN for name in self.split.roles[role]]
        labels = hashlib.sha256(self.samples.labels[self.samples.rows(ids)].tobytes())
        self._labels = labels.hexdigest()

    @property
    def train_rows(self) -> int:
        """How many rows train."""
        return len(self.split.roles["train"])

    def key(self, config: TrainConfig) -> str:
        """SHA-256 of everything that decides a training and its scores."""
        features = self._streams(config)[1]
        about = [config.model_dump(mode="json"), features, self.split.digest, self._labels, self.device]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def of(self, config: TrainConfig) -> LabelledRows:
        """The rows with the streams that ``config`` reads."""
        tables, features = self._streams(config)
        if features not in self._loaded:
            check_inputs(tables, self.samples)
            vectors = find_label_vectors(config, tables, self.samples.label_names)
            self._loaded[features] = load_rows(
                tables, self.samples, self.split, self.device, vectors, roles=SEEN, memory_gb=config.memory_gb
            )
        return self._loaded[features]

    def fresh_model(self, config: TrainConfig) -> JointModel | StackedFusion:
        """What is trained, on the device."""
        rows = self.of(config).rows
        return build_model(config, rows.dims, rows.targets.shape[1], seed=config.seed).to(rows.targets.device)

    def check(self, config: TrainConfig) -> None:
        """Make sure that what is searched is what would be trained, and that validation rows can judge it.

        Raises:
            ConfigError: an ensemble, or a combiner that learns from the validation rows.
        """
        if config.ensemble.kind != "none":
            raise ConfigError(
                "tune judges single models: an ensemble takes the best setting that it finds",
                "Leave the ensemble out here, and give it to train-head",
            )
        if config.stacking.method == "validation" and config.fusion.kind in STACKED:
            raise ConfigError(
                "the validation rows would train the combiner and judge it (stacking validation)",
                "Choose --set stacking.method=out-of-fold",
            )

    def batches(self, trainings: Sequence[Training]) -> list[list[Training]]:
        """Trainings that are faster as one batched model stand together, in the order of their first; others alone."""
        groups: dict[str, list[Training]] = {}
        most: dict[str, int] = {}
        for one in trainings:
            shape = json.dumps([_shape(one.config.model_dump(mode="json")), self._streams(one.config)[1]])
            if shape not in most:
                most[shape] = self._most_together(one.config)
            groups.setdefault(shape, []).append(one)
        return [
            group[start : start + most[shape]]
            for shape, group in groups.items()
            for start in range(0, len(group), most[shape])
        ]

    def _most_together(self, config: TrainConfig) -> int:
        model = self.fresh_model(config)
        parts = list(model.parts.values()) if isinstance(model, StackedFusion) else [model]
        if not any(can_be_together(part) for part in parts):
            return 1
        copies = 1 + (config.stacking.folds if isinstance(model, StackedFusion) else 0)
        return max(1, min(MOST_TOGETHER, MOST_BYTES // (16 * copies * max(1, count_parameters(model)))))

    def _numbers(self) -> str | None:
        numbers = self.samples.numbers
        return None if numbers is None else hashlib.sha256(numbers.tobytes()).hexdigest()

    def _streams(self, config: TrainConfig) -> tuple[StreamTables, str]:
        """The tables that ``config`` reads, and what they are: which features of which inputs, and of a zero-shot head
        which prompts."""
        reads = config.model_dump_json(include={"fusion", "modalities", "features", "image", "text"})
        if reads not in self._chosen:
            tables = select_streams(self.cache, config)
            digests = {
                modality: rows_digest(self.samples.ids, self.samples.input_digests(modality))
                for modality in ("image", "text")
            }
            about = {
                "tables": {name: table.description.fingerprint for name, table in tables.items()},
                "views": {
                    name: [one.fingerprint for one in those] for name, those in tables.view_descriptions().items()
                },
                "inputs": digests,
                "own": [tables.own.to_dict(), self._numbers() if tables.own.numbers else None],
            }
            self._chosen[reads] = tables, json.dumps(about, sort_keys=True)
        tables, features = self._chosen[reads]
        prompts = [
            [head.options.get(name) for name in ("prompts", "words")]
            for head in (config.head, *(part.head for part in config.parts.values() if part.head is not None))
            if head.kind == "zero-shot"
        ]
        return tables, features + json.dumps(prompts, sort_keys=True)


def train_batch(batch: Sequence[Training], rows: TuneRows) -> list[Result]:
    """Train what stands together, and score it. What diverges is a result, too, and takes no other one with it."""
    import torch._dynamo  # noqa: F401  (the first optimiser would: seconds that are no training)

    rows.of(batch[0].config)  # reading them is no training either
    started = time.perf_counter()
    try:
        scored = _train(batch, rows)
    except TrainingError as error:
        if len(batch) > 1:
            return [result for one in batch for result in train_batch([one], rows)]
        scored = [_Scored({}, 0, {}, str(error))]
    seconds = (time.perf_counter() - started) / len(batch)
    return [
        Result(
            one.key,
            dict(one.settings),
            one.config.seed,
            found.scores,
            seconds,
            found.parameters,
            found.best_epochs,
            found.error,
        )
        for one, found in zip(batch, scored, strict=True)
    ]


@dataclass(frozen=True)
class _Scored:
    scores: Mapping[str, float | None]
    parameters: int
    best_epochs: Mapping[str, int]
    error: str | None = None


def _train(batch: Sequence[Training], rows: TuneRows) -> list[_Scored]:
    own = rows.of(batch[0].config)
    models = [rows.fresh_model(one.config) for one in batch]
    trainees = [
        Trainee(one.config, model, own.index["train"], own.index["validation"])
        for one, model in zip(batch, models, strict=True)
    ]
    fitted = train_models(trainees, own.rows, lambda _name, _record: None)
    return [
        _scored(
            torch.sigmoid(predict_rows(model, own.rows, own.index["validation"])), own, count_parameters(model), one
        )
        for model, one in zip(models, fitted, strict=True)
    ]


def _scored(probabilities: torch.Tensor, own: LabelledRows, parameters: int, fitted: Fitted) -> _Scored:
    targets = own.rows.targets[own.index["validation"]].cpu().numpy() > 0.5
    names = [str(n) for n in range(targets.shape[1])]
    scores = evaluate(probabilities.double().cpu().numpy(), targets, 0.5, names)
    best = {name: result.best_epoch for name, result in fitted.fits.items()}
    return _Scored({metric: getattr(scores, metric) for metric in METRICS}, parameters, best)


def _shape(values: Any) -> Any:
    """Settings without those that may differ among trainings that are one batched model."""
    if isinstance(values, dict):
        return {key: _shape(value) for key, value in values.items() if key not in _PER_MEMBER}
    return values
