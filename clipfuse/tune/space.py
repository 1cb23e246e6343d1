"""What a search looks through: settings of ``TrainConfig`` by their paths, and the values that each may take.

A space is a TOML file. Keys are paths, as train-head's --set has them; a key may name several, with commas between,
that take one value together::

    description = "what it is for"
    recipe = "s2-sum"                                             # what it starts from, instead of the project's
    "head.dropout" = 0.5                                          # fixed
    "head.hidden" = [[512], [1024, 256]]                          # one of these
    "fit.learning_rate" = { low = 1e-4, high = 1e-2, log = true } # anything between
    "fit.epochs, stacking.fit.epochs" = [4, 8]
    "fit.batch_size" = ["all", { rows = 0.4 }]                    # all training rows, or 40% of them
    stages = [ ... ]                                              # tables of such keys, searched one after the other
    points = [ ... ]                                              # tables of settings: whole combinations
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeGuard

from clipfuse.errors import ConfigError
from clipfuse.settings import updated
from clipfuse.train_config import TrainConfig

Point = Mapping[str, Any]
"""Path, or paths with commas between -> value."""


@dataclass(frozen=True)
class Options:
    """One of several values."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at a share, within [0, 1), of the way from the first to the last."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def grid(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Any number between two; whole ones where both are whole. With ``log``, factors count alike. A grid has
    ``steps`` of them."""

    low: float
    high: float
    log: bool = False
    steps: int = 3

    @property
    def is_whole(self) -> bool:
        """Whether it has whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """The number at a share, within [0, 1), of the way."""
        if self.log:
            found = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            found = self.low + share * (self.high - self.low)
        return min(self.high, max(self.low, round(found) if self.is_whole else float(f"{found:.4g}")))

    def grid(self) -> tuple[float, ...]:
        """``steps`` of them, both ends among them."""
        return tuple(dict.fromkeys(self.at(n / (self.steps - 1)) for n in range(self.steps)))


Dimension = Options | Range


@dataclass(frozen=True)
class Stage:
    """Settings that are chosen together: those of every dimension, or of one of some points."""

    dimensions: Mapping[str, Dimension]
    points: tuple[Point, ...] = ()

    @property
    def size(self) -> int:
        """How many combinations :meth:`grid` gives."""
        return math.prod(len(dimension.grid()) for dimension in self.dimensions.values()) * max(1, len(self.points))

    def grid(self) -> list[dict[str, Any]]:
        """Every combination."""
        values = product(*(dimension.grid() for dimension in self.dimensions.values()))
        combined = [dict(zip(self.dimensions, chosen, strict=True)) for chosen in values]
        return [{**point, **one} for point in self.points or ({},) for one in combined]


@dataclass(frozen=True)
class Space:
    """What a search looks through.

    Attributes:
        name: for people.
        description: what it is for.
        recipe: what it starts from; None: the project's settings.
        fixed: what all its settings have in common.
        stages: one, or several that are searched one after the other.
    """

    name: str
    description: str
    recipe: str | None
    fixed: Point
    stages: tuple[Stage, ...]

    def is_staged(self) -> bool:
        """Whether it says by itself which settings are tried."""
        return len(self.stages) > 1 or any(stage.points for stage in self.stages)


def read_space(path: Path) -> Space:
    """A space from a file. Raises ConfigError: not there, not TOML, or not as the module's docstring has it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"space {path} can't be read ({error})", "Name a TOML file, or a shipped space") from error
    return parse_space(path.stem, values, str(path))


def parse_space(name: str, values: Mapping[str, Any], where: str) -> Space:
    """A space from plain values.

    Raises:
        ConfigError: naming ``where``, the key and what was expected.
    """
    values = dict(values)
    description, recipe = values.pop("description", ""), values.pop("recipe", None)
    stages, points = values.pop("stages", None), values.pop("points", ())
    if not isinstance(description, str) or not isinstance(recipe, str | None):
        raise ConfigError(f"{where}: description and recipe should be strings")
    fixed, dimensions = _parse(values, where)
    found: tuple[Stage, ...]
    if stages is None:
        found = (Stage(dimensions, _points(points, where)),) if dimensions or points else ()
    elif dimensions or points or not isinstance(stages, list) or not all(isinstance(one, dict) for one in stages):
        raise ConfigError(f"{where}: stages should be a list of tables", "Put every key with several values into one")
    else:
        found = tuple(_stage(dict(one), f"{where}, stage {n}") for n, one in enumerate(stages, start=1))
    if not found:
        raise ConfigError(
            f"{where} has nothing to choose from",
            'Give a setting several values, for example "fit.epochs" = [4, 8]',
        )
    return Space(name, description, recipe, fixed, found)


def apply_point(base: TrainConfig, point: Point, rows: int) -> TrainConfig:
    """``base`` with a point's settings.

    Args:
        base: every other setting.
        point: what is set.
        rows: training rows, for values that are a share of them.

    Raises:
        ConfigError: a setting that there is not, or a value that can't be.
    """
    changes: dict[str, Any] = {}
    for path, value in assignments(point, rows):
        keys = path.split(".")
        place = changes
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
    return updated(base, **changes)


def assignments(point: Point, rows: int) -> Iterator[tuple[str, Any]]:
    """Single paths and their values, shares of rows as numbers of rows."""
    for paths, value in point.items():
        is_share = isinstance(value, dict) and set(value) == {"rows"}
        for path in paths.split(","):
            yield path.strip(), max(1, round(value["rows"] * rows)) if is_share else value


def _stage(values: dict[str, Any], where: str) -> Stage:
    points = values.pop("points", ())
    fixed, dimensions = _parse(values, where)
    alone = {path: Options((value,)) for path, value in fixed.items()}
    if not dimensions and not points:
        raise ConfigError(f"{where} has nothing to choose from", "Give a setting several values")
    return Stage({**alone, **dimensions}, _points(points, where))


def _points(points: Any, where: str) -> tuple[Point, ...]:
    if not isinstance(points, list | tuple) or not all(isinstance(point, dict) for point in points):
        raise ConfigError(f"{where}: points should be a list of tables of settings")
    return tuple(dict(_flat(point, where)) for point in points)


def _parse(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Dimension]]:
    """What has one value, and what has several."""
    fixed: dict[str, Any] = {}
    dimensions: dict[str, Dimension] = {}
    for path, value in _flat(values, where):
        if isinstance(value, list):
            if not value:
                raise ConfigError(f"{where}: {path} has no values")
            dimensions[path] = Options(tuple(value))
        elif isinstance(value, dict) and "rows" not in value:
            dimensions[path] = _range(value, f"{where}: {path}")
        else:
            fixed[path] = value
    return fixed, dimensions


def _flat(values: Mapping[str, Any], where: str, before: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values; head.hidden = ... and "head.hidden" = ... are the same."""
    for key, value in values.items():
        path = f"{before}{key}"
        if isinstance(value, dict) and not {"low", "high", "rows"} & set(value):
            yield from _flat(value, where, f"{path}.")
        elif not all(part.strip() for part in path.replace(",", ".").split(".")):
            raise ConfigError(f"{where}: {path!r} is no path", 'Name a setting, for example "fit.learning_rate"')
        else:
            yield path, value


def _range(value: Mapping[str, Any], where: str) -> Range:
    strange = set(value) - {"low", "high", "log", "steps"}
    if strange:
        raise ConfigError(f"{where}: unknown key {min(strange)!r}", "A range has low, high, log and steps")
    low, high = value.get("low"), value.get("high")
    if not _is_number(low) or not _is_number(high) or not low < high:
        raise ConfigError(f"{where}: a range goes from low to a higher high, not from {low!r} to {high!r}")
    log, steps = value.get("log", False), value.get("steps", 3)
    if not isinstance(log, bool) or not isinstance(steps, int) or steps < 2:
        raise ConfigError(f"{where}: log should be true or false, steps a number from 2")
    if log and low <= 0:
        raise ConfigError(f"{where}: with log = true low should be above 0, not {low!r}")
    return Range(low, high, log, steps)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


NOT_JUDGED = ("calibration", "memory_gb", "pseudo_labels", "recipe", "refit", "thresholds")
"""Settings of what is fitted to the rows that judge here, or of trainings on other rows."""


def check_points(points: Sequence[Point], base: TrainConfig, rows: int) -> None:
    """Make sure, before anything is trained, that all of these can be. Raises ConfigError, UnknownName."""
    from clipfuse.check_config import check_config

    for point in points:
        for path in (one.strip() for paths in point for one in paths.split(",")):
            if path.partition(".")[0] in NOT_JUDGED:
                raise ConfigError(
                    f"tune can't judge {path}: trials are scored on validation rows at 0.5",
                    "Leave it out of the space, and compare its values with train-head",
                )
        check_config(apply_point(base, point, rows))
