"""Several labels per picture and caption, from frozen embeddings.

The names below are public: they stay, and change only with a major version. They are loaded when they are first used,
so that ``import clipfuse`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipfuse.classifier import FusionClassifier, side_by_side
    from clipfuse.errors import ClipfuseError
    from clipfuse.loaded_run import LoadedPrediction, LoadedRun, load_run
    from clipfuse.run import Run, open_run
    from clipfuse.stages import extract_features, train
    from clipfuse_cache import FeatureCache

__all__ = [
    "ClipfuseError",
    "FeatureCache",
    "FusionClassifier",
    "LoadedPrediction",
    "LoadedRun",
    "Run",
    "__version__",
    "extract_features",
    "load_run",
    "open_run",
    "side_by_side",
    "train",
]

_HOMES = {
    "ClipfuseError": "clipfuse.errors",
    "FeatureCache": "clipfuse_cache",
    "FusionClassifier": "clipfuse.classifier",
    "LoadedPrediction": "clipfuse.loaded_run",
    "LoadedRun": "clipfuse.loaded_run",
    "Run": "clipfuse.run",
    "extract_features": "clipfuse.stages",
    "load_run": "clipfuse.loaded_run",
    "open_run": "clipfuse.run",
    "side_by_side": "clipfuse.classifier",
    "train": "clipfuse.stages",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("clipfuse")
    if name not in _HOMES:
        raise AttributeError(f"module 'clipfuse' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
