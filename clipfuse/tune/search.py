"""Searching for settings: every trial is trained with several seeds and judged on the validation rows only.

Test rows are neither read nor scored here. The best validation score of many trials is higher than what it promises
on new rows: train the best settings with train-head to see its test score.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipfuse.data.split import Split
from clipfuse.ensembles import check_ensemble
from clipfuse.errors import ConfigError
from clipfuse.metrics import METRICS, MetricName
from clipfuse.registry import did_you_mean
from clipfuse.repeats import repeat_config
from clipfuse.train_config import FitConfig, TrainConfig
from clipfuse.tune.results import Result, Results
from clipfuse.tune.samplers import examples, make_waves, score_of
from clipfuse.tune.space import Point, Space, apply_point, check_points
from clipfuse.tune.training import Training, TuneRows, train_batch
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.lock import locked


@dataclass(frozen=True)
class SearchSettings:
    """How a space is searched.

    Attributes:
        sampler: see ``samplers.SAMPLERS``; None: what fits the space.
        trials: how many settings random and optuna try.
        seeds: trainings of each, each with its own weights, orders, dropout and folds.
        metric: what is to be high.
        epoch_scale: all numbers of epochs are multiplied with it (1 at least): a search in less time.
        budget_seconds: nothing new is begun after so long; None: no limit.
        seed: of the sampler.
        side_by_side: whether settings that allow it are trained as one batched model, where that is faster.
    """

    sampler: str | None = None
    trials: int = 20
    seeds: int = 3
    metric: MetricName = "micro_f1"
    epoch_scale: float = 1.0
    budget_seconds: float | None = None
    seed: int = 0
    side_by_side: bool = True


@dataclass(frozen=True)
class Trial:
    """One choice of settings.

    Attributes:
        number: from 1, in the order in which they were chosen.
        settings: what was set of the space.
        config: all settings, with the epochs as they are and not as they were scaled.
        results: one a seed.
    """

    number: int
    settings: Point
    config: TrainConfig
    results: tuple[Result, ...]

    def mean(self, metric: MetricName) -> float | None:
        """Mean over seeds; None where one of them could not be trained."""
        return score_of([result.scores.get(metric) for result in self.results])

    def deviation(self, metric: MetricName) -> float | None:
        """Standard deviation over seeds; None for a single one, or where one could not be trained."""
        found = [result.scores.get(metric) for result in self.results]
        known = [score for score in found if score is not None]
        return statistics.stdev(known) if len(known) == len(found) > 1 else None

    @property
    def seconds(self) -> float:
        """Of all its seeds together."""
        return sum(result.seconds for result in self.results)

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return self.results[0].parameters

    @property
    def error(self) -> str | None:
        """Why it could not be trained with one of its seeds."""
        return next((result.error for result in self.results if result.error is not None), None)


@dataclass(frozen=True)
class Search:
    """A search that is over.

    Attributes:
        folder: where its results are.
        trials: the best first; those that could not be trained last.
        trained: how many trainings this call did; the others were known.
        seconds: of this call.
        complete: False where the budget ended it.
    """

    folder: Path
    trials: tuple[Trial, ...]
    trained: int
    seconds: float
    complete: bool


OnTrial = Callable[[Trial], None]


def tune(
    cache: FeatureCache,
    samples: Samples,
    split: Split,
    base: TrainConfig,
    space: Space,
    settings: SearchSettings,
    *,
    runs: Path,
    device: str = "cpu",
    on_trial: OnTrial = lambda _trial: None,
) -> Search:
    """Search ``space`` on the training and validation rows of ``split``.

    The same call again goes on where the last one ended: what is finished is read from its folder under ``runs``.

    Args:
        base: every other setting (those of the space's recipe, where it has one).
        on_trial: called with each trial once all of its seeds are known.

    Raises:
        ConfigError: settings that can't be; before anything is trained.
        TrainingError: not one setting of a stage could be trained.
        DataError, CacheError: as of ``train_head``.
    """
    if settings.metric not in METRICS:
        raise ConfigError(f"unknown metric {settings.metric!r}", did_you_mean(settings.metric, METRICS))
    base = apply_point(base, space.fixed, len(split.roles["train"]))
    check_points(examples(space, settings.seed), base, len(split.roles["train"]))
    waves = make_waves(settings.sampler, space, settings.trials, settings.seed)
    folder = runs / f"tune-{space.name}-{_digest([base.model_dump_json(), repr(space), split.digest])[:8]}"
    with locked(folder):
        return _Run(TuneRows(cache, samples, split, device), base, settings, folder, on_trial).run(waves)


class _Run:
    """One search on its way."""

    def __init__(
        self, rows: TuneRows, base: TrainConfig, settings: SearchSettings, folder: Path, on_trial: OnTrial
    ) -> None:
        self.rows, self.base, self.settings = rows, base, settings
        self.folder, self.on_trial = folder, on_trial
        self.results = Results(folder)
        self.numbers: dict[str, int] = {}
        self.trials: dict[str, Trial] = {}
        self.trained = 0
        self.started = time.monotonic()

    def run(self, waves: Any) -> Search:
        """All waves, or as many as the budget allows."""
        points, complete = next(waves), True
        while True:
            scores = self._wave(points)
            complete = scores is not None
            if scores is None:
                break
            try:
                points = waves.send(scores)
            except StopIteration:
                break
        metric = self.settings.metric
        ranked = sorted(self.trials.values(), key=lambda trial: (-(_or_lowest(trial.mean(metric))), trial.number))
        return Search(self.folder, tuple(ranked), self.trained, time.monotonic() - self.started, complete)

    def _wave(self, points: Sequence[Point]) -> list[float | None] | None:
        """The points' scores; None where the budget ended it."""
        configs = [apply_point(self.base, point, self.rows.train_rows) for point in points]
        trainings = [self._trainings(config, point) for config, point in zip(configs, points, strict=True)]
        for several in trainings:
            self.numbers.setdefault(several[0].key, len(self.numbers) + 1)
        for batch in self._batches([one for several in trainings for one in several]):
            if self._is_over():
                self._finish(points, configs, trainings)
                return None
            found = train_batch(batch, self.rows)
            self.trained += len(found)
            self.results.add(found)
            self._finish(points, configs, trainings)
        self._finish(points, configs, trainings)
        return [self.trials[several[0].key].mean(self.settings.metric) for several in trainings]

    def _trainings(self, config: TrainConfig, point: Point) -> list[Training]:
        self.rows.check(config)
        scaled = _scaled(config, self.settings.epoch_scale)
        check_ensemble(scaled)
        seeded = [repeat_config(scaled, n) for n in range(self.settings.seeds)]
        return [Training(self.rows.key(one), one, point) for one in seeded]

    def _batches(self, trainings: Sequence[Training]) -> list[list[Training]]:
        """What is not known yet, in the order of the trials; side by side where that is faster."""
        new = {one.key: one for one in trainings if self.results.get(one.key) is None}
        if not self.settings.side_by_side:
            return [[one] for one in new.values()]
        return self.rows.batches(list(new.values()))

    def _finish(
        self, points: Sequence[Point], configs: Sequence[TrainConfig], trainings: Sequence[Sequence[Training]]
    ) -> None:
        """Tell of the trials whose seeds are all known by now."""
        for point, config, several in zip(points, configs, trainings, strict=True):
            key = several[0].key
            found = [result for one in several if (result := self.results.get(one.key)) is not None]
            if key not in self.trials and len(found) == len(several):
                self.trials[key] = Trial(self.numbers[key], dict(point), config, tuple(found))
                self.on_trial(self.trials[key])

    def _is_over(self) -> bool:
        budget = self.settings.budget_seconds
        return budget is not None and time.monotonic() - self.started >= budget


def _scaled(config: TrainConfig, scale: float) -> TrainConfig:
    """The same with all numbers of epochs multiplied."""
    if scale == 1:
        return config

    def fit(own: FitConfig) -> FitConfig:
        return own.model_copy(update={"epochs": max(1, round(own.epochs * scale))})

    stacking = config.stacking.model_copy(update={"fit": fit(config.stacking.fit)})
    return config.with_fits(fit).model_copy(update={"stacking": stacking})


def _or_lowest(score: float | None) -> float:
    return float("-inf") if score is None else score


def _digest(values: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
