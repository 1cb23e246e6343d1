"""Searching for settings on cached features, judged on validation rows. The main path is in ``search.py``."""

from __future__ import annotations

from clipfuse.tune.samplers import SAMPLERS
from clipfuse.tune.search import Search, SearchSettings, Trial, tune
from clipfuse.tune.shipped import default_space, find_space, shipped_spaces
from clipfuse.tune.space import Options, Range, Space, Stage, apply_point, assignments, parse_space, read_space

__all__ = [
    "SAMPLERS",
    "Options",
    "Range",
    "Search",
    "SearchSettings",
    "Space",
    "Stage",
    "Trial",
    "apply_point",
    "assignments",
    "default_space",
    "find_space",
    "parse_space",
    "read_space",
    "shipped_spaces",
    "tune",
]
