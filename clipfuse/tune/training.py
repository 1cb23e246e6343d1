"""Training the settings of a search, several side by side, on training rows; scoring them on validation rows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clipfuse.data.split import Role, Split
from clipfuse.errors import ConfigError, TrainingError
from clipfuse.finish import as_kept
from clipfuse.fusions import STACKED, StackedFusion
from clipfuse.inputs import no_progress
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.metrics import METRICS, evaluate
from clipfuse.model_inputs import JointModel
from clipfuse.models import build_model, count_parameters
from clipfuse.select_streams import check_inputs, select_streams
from clipfuse.stream_tables import StreamTables
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, Trained, train_jobs
from clipfuse.training.members import can_be_together
from clipfuse.tune.results import Result
from clipfuse.tune.space import Point
from clipfuse.zero_shot import find_label_vectors
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.fingerprint import rows_digest

THRESHOLD = 0.5
"""At which probabilities are judged."""

SEEN: tuple[Role, ...] = ("train", "validation")
"""The only rows that a search reads."""

MOST_TOGETHER = 16
"""Models of one batch: more lose more work to an interruption and gain little."""

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
        """Make sure that validation rows can judge it. Raises ConfigError: a combiner that learns from them."""
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
        members = config.ensemble.size if config.ensemble.kind in ("seeds", "folds") else 1
        copies = 1 + (config.stacking.folds if isinstance(model, StackedFusion) else 0)
        fit = MOST_BYTES // (16 * copies * max(1, count_parameters(model)))
        return max(1, min(MOST_TOGETHER, fit) // members)

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
    own = rows.of(batch[0].config)
    jobs = [Job(one.config, own.index, name=f"{n}, ") for n, one in enumerate(batch)]
    started = time.perf_counter()
    try:
        trained = train_jobs(jobs, own.rows, no_progress)
    except TrainingError as error:
        if len(batch) > 1:
            return [result for one in batch for result in train_batch([one], rows)]
        seconds = time.perf_counter() - started
        return [Result(batch[0].key, dict(batch[0].settings), batch[0].config.seed, {}, seconds, 0, {}, str(error))]
    return [_judged(one, found, own) for one, found in zip(batch, trained, strict=True)]


def _judged(one: Training, trained: Trained, own: LabelledRows) -> Result:
    """Scored on the validation rows as train-head would, but at 0.5: calibration and thresholds are fitted to the rows
    that judge here."""
    predictor = as_kept(one.config, trained.predictor)
    validation = own.index["validation"]
    truth = own.truth(validation)
    names = [str(n) for n in range(truth.shape[1])]
    found = evaluate(own.ask(predictor, validation), truth, THRESHOLD, names, empty_rows=one.config.empty_rows)
    scores: dict[str, float | None] = {metric: getattr(found, metric) for metric in METRICS}
    return Result(
        one.key,
        dict(one.settings),
        one.config.seed,
        scores,
        trained.seconds,
        predictor.parameters,
        trained.best_epochs,
    )


def _shape(values: Any) -> Any:
    """Settings without those that may differ among trainings that are one batched model."""
    if isinstance(values, dict):
        return {key: _shape(value) for key, value in values.items() if key not in _PER_MEMBER}
    return values
