"""Spaces that come with clipfuse: one for every head and fusion, and the reports' own studies."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

from clipfuse.errors import UnknownName
from clipfuse.fusions import SINGLE, STACKED
from clipfuse.registry import did_you_mean
from clipfuse.train_config import TrainConfig
from clipfuse.tune.space import Space, parse_space, read_space

DEFAULTS = "defaults"
"""The file with sensible values for every head and fusion."""


def shipped_spaces() -> list[str]:
    """Names of the reports' studies."""
    return sorted(name.removesuffix(".toml") for name in _files() if name != f"{DEFAULTS}.toml")


def find_space(name: str) -> Space:
    """A shipped study, or a file.

    Raises:
        UnknownName: neither shipped nor a file; the nearest shipped one is named.
        ConfigError: a file that is no space.
    """
    if name in shipped_spaces():
        return parse_space(name, tomllib.loads(_files()[f"{name}.toml"]), f"space {name}")
    if Path(name).suffix != ".toml" and not Path(name).exists():
        raise UnknownName(f"unknown space {name!r}", did_you_mean(name, shipped_spaces()))
    return read_space(Path(name))


def default_space(config: TrainConfig, without: Collection[str] = ()) -> Space:
    """What is sensible for one head and fusion: their sizes, and the loop's settings, but for the paths ``without``.

    Raises:
        UnknownName: a head that no space is known for.
    """
    known: dict[str, Any] = tomllib.loads(_files()[f"{DEFAULTS}.toml"])
    head, fusion = config.head.kind, config.fusion.kind
    if head not in known["head"]:
        raise UnknownName(f"no space is known for head {head}", f"Write one for --space, or {_heads(head, known)}")
    values = {**known["fit"], **known["head"][head]}
    if fusion in STACKED:
        values |= known["stacked"]
    elif fusion not in SINGLE:
        values |= known["fusion"].get(fusion, {})
    values = {path: value for path, value in values.items() if path not in without}
    return parse_space(f"{fusion}-{head}", values, f"space of {fusion} and {head}")


def _heads(head: str, known: dict[str, Any]) -> str:
    return f"choose another head. {did_you_mean(head, known['head'])}"


def _files() -> dict[str, str]:
    folder = files("clipfuse.tune") / "spaces"
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".toml")}
