"""Recipes: the systems of published reports as settings, in the TOML files of this folder, one a report.

A file has a table for each recipe (``description``, ``reported``, ``train``) and one called common, whose contents are
those of every recipe that does not say otherwise.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from clipfuse.errors import UnknownName
from clipfuse.registry import did_you_mean
from clipfuse.settings import build_settings
from clipfuse.train_config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A named, tested configuration.

    Attributes:
        name: what --recipe takes.
        source: the report.
        description: its layers, in short.
        reported: what the report says that it scored; on other rows and features than yours.
        train: every setting.
    """

    name: str
    source: str
    description: str
    reported: str
    train: TrainConfig


def recipes() -> list[Recipe]:
    """All recipes, report by report."""
    return list(_all().values())


def find_recipe(name: str) -> Recipe:
    """One recipe. Raises UnknownName, which names the nearest."""
    if name not in _all():
        raise UnknownName(f"unknown recipe {name!r}", did_you_mean(name, _all()))
    return _all()[name]


def recipe_kind(config: TrainConfig) -> str | None:
    """What a run of these settings is called: the recipe's name, marked where more than the encoders and the seed
    differs from it; None for settings that come from no recipe.

    Raises:
        UnknownName: the recipe that they name does not exist.
    """
    if config.recipe is None:
        return None
    free = {"image": config.image, "text": config.text, "seed": config.seed}
    named = find_recipe(config.recipe).train.model_copy(update=free)
    same = named.model_dump(mode="json") == config.model_dump(mode="json")
    return config.recipe if same else f"{config.recipe}-changed"


@cache
def _all() -> dict[str, Recipe]:
    found = {}
    for path in sorted(files(__name__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".toml"):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            common = content.pop("common")
            for name, own in content.items():
                merged = _merged(common, own)
                train = build_settings(TrainConfig, {**merged.pop("train"), "recipe": name}, f"recipe {name}")
                found[name] = Recipe(name=name, train=train, **merged)
    return found


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``own`` over ``common``, table by table; a table with another ``kind`` replaces the common one."""
    result = dict(common)
    for key, value in own.items():
        old = result.get(key)
        both = isinstance(value, dict) and isinstance(old, dict) and value.get("kind") in (None, old.get("kind"))
        result[key] = _merged(old, value) if both and isinstance(old, dict) else value
    return result
