"""Which settings are tried: in waves, each of which may take heed of the scores of those before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, get_args

import numpy as np

from clipfuse.errors import ConfigError, TrainingError
from clipfuse.registry import did_you_mean
from clipfuse.tune.space import Point, Range, Space, Stage

Waves = Generator[list[Point], list[float | None], None]
"""Points to try; what is sent back are their scores, None for what could not be trained."""

SamplerName = Literal["stages", "random", "grid", "optuna"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
OPTUNA_WAVE = 4
"""Points that optuna chooses before it hears of the first one's score: what can be trained side by side."""


MOST_SETTINGS = 5000
"""Of a grid."""


def make_waves(name: str | None, space: Space, trials: int, seed: int) -> Waves:
    """The waves of a sampler; None: stages for a space that says by itself what is tried, random for others.

    Raises:
        ConfigError: no such sampler, one that can't search such a space, or optuna is not installed.
    """
    name = name or ("stages" if space.is_staged() else "random")
    makers: dict[str, Callable[[], Waves]] = {
        "stages": lambda: _stages(space),
        "grid": lambda: _grid(_only_stage(space, "grid"), space.name),
        "random": lambda: _random(_only_stage(space, "random"), trials, seed),
        "optuna": lambda: _optuna(_only_stage(space, "optuna"), trials, seed),
    }
    if name not in makers:
        raise ConfigError(f"unknown sampler {name!r}", did_you_mean(name, SAMPLERS))
    if name == "optuna":
        _import_optuna()
    return makers[name]()


def examples(space: Space, seed: int) -> list[Point]:
    """Points of every stage, to see whether they can be: all of a small one, some of a large one."""
    found: list[Point] = []
    for stage in space.stages:
        has_range = any(isinstance(dimension, Range) for dimension in stage.dimensions.values())
        few = not has_range and stage.size <= 100
        found += stage.grid() if few else next(_random(stage, 20, seed))
    return found


def _random(stage: Stage, trials: int, seed: int) -> Waves:
    """Drawn independently; the first n of more trials are those of n trials."""
    generator = np.random.default_rng(seed)

    def draw() -> dict[str, Any]:
        drawn = {path: dimension.at(generator.random()) for path, dimension in stage.dimensions.items()}
        point = stage.points[generator.integers(len(stage.points))] if stage.points else {}
        return {**point, **drawn}

    yield [draw() for _ in range(trials)]


def _grid(stage: Stage, name: str) -> Waves:
    """The full product. Raises ConfigError where that is more than anybody would train."""
    if stage.size > MOST_SETTINGS:
        raise ConfigError(
            f"the grid of space {name} has {stage.size:,} settings",
            "Search it instead (--sampler random --trials 30), or name fewer values in a --space of your own",
        )
    return _once(stage.grid())


def _once(points: Sequence[Point]) -> Waves:
    yield [*points]


def _stages(space: Space) -> Waves:
    """One stage after the other, each with the best settings of those before: the reports' greedy way."""
    best: Point = {}
    for stage in space.stages:
        points: list[Point] = [{**best, **point} for point in stage.grid()]
        scores = yield points
        known = [(score, -n) for n, score in enumerate(scores) if score is not None]
        if not known:
            raise TrainingError("not one setting of a stage could be trained", "Take lower learning rates into it")
        best = points[-max(known)[1]]


def _optuna(stage: Stage, trials: int, seed: int) -> Waves:
    """Optuna's default sampler (TPE), told of the points that are still under way as if they were bad."""
    optuna = _import_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    few = max(1, min(10, trials // 2))  # drawn at random at first
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=few)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    left = trials
    while left > 0:
        asked = [study.ask() for _ in range(min(OPTUNA_WAVE, left))]
        scores = yield [_suggest(stage, trial) for trial in asked]
        for trial, score in zip(asked, scores, strict=True):
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)
        left -= len(asked)


def _suggest(stage: Stage, trial: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if stage.points:
        found |= stage.points[trial.suggest_categorical("points", range(len(stage.points)))]
    for path, dimension in stage.dimensions.items():
        if not isinstance(dimension, Range):  # a value may be a list, which optuna can't store: its number can
            found[path] = dimension.values[trial.suggest_categorical(path, range(len(dimension.values)))]
        elif dimension.is_whole:
            found[path] = trial.suggest_int(path, dimension.low, dimension.high, log=dimension.log)
        else:
            drawn = trial.suggest_float(path, dimension.low, dimension.high, log=dimension.log)
            found[path] = min(dimension.high, max(dimension.low, float(f"{drawn:.4g}")))
    return found


def _only_stage(space: Space, sampler: str) -> Stage:
    if len(space.stages) > 1:
        raise ConfigError(
            f"space {space.name} has {len(space.stages)} stages, which sampler {sampler} can't follow",
            "Leave out --sampler",
        )
    return space.stages[0]


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "--sampler optuna needs optuna, which is not installed",
            "Install it with pip install 'clipfuse[tune]', or choose --sampler random",
        ) from error
    return optuna


def score_of(scores: Sequence[float | None]) -> float | None:
    """The mean over seeds; None where one of them could not be trained."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None
