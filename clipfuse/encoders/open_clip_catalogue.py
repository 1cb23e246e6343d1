"""open_clip's lists of models and of published weights, read without importing open_clip (that takes seconds)."""

from __future__ import annotations

import ast
import copy
import functools
import importlib.util
import json
import os
import typing
from pathlib import Path
from typing import Any

from clipfuse.errors import ConfigError, EncoderError, UnknownName
from clipfuse.registry import did_you_mean


def model_config(name: str) -> dict[str, Any]:
    """The configuration of one of open_clip's models. Raises UnknownName with the nearest name."""
    folder = _package() / "model_configs"
    path = folder / f"{name}.json"
    if "/" in name or not path.exists():
        raise UnknownName(
            f"open_clip has no model {name!r}", did_you_mean(name, [p.stem for p in folder.glob("*.json")])
        )
    config: dict[str, Any] = json.loads(path.read_bytes())
    return config


def published_weights(model: str, tag: str) -> dict[str, Any]:
    """What open_clip knows about the weights ``tag`` of ``model``: hf_hub, mean, std, interpolation, resize_mode.

    Raises:
        UnknownName: no such tag for that model.
        EncoderError: the model's activation is not the one that the weights were trained with.
    """
    catalogue = _catalogue()
    tags = catalogue.get(model, {})
    clean = tag.replace("-", "_").lower()
    if clean not in tags:
        raise UnknownName(f"open_clip has no weights {tag!r} for {model}", did_you_mean(clean, list(tags)))
    weights: dict[str, Any] = tags[clean]
    quick = bool(model_config(model).get("quick_gelu", False))
    if bool(weights.get("quick_gelu", False)) and not quick:
        raise EncoderError(
            f"the weights {model}/{tag} were trained with QuickGELU, the model {model} computes GELU",
            f"Use clip:{model}-quickgelu/{tag}",
        )
    return weights


def common_weights(model: str) -> dict[str, Any]:
    """How the published weights of ``model`` want their pictures, for weights of one's own: mean, std, interpolation,
    resize_mode; nothing where none are published.

    Raises:
        ConfigError: they differ in it, so that the tag has to be named.
    """
    keys = ("mean", "std", "interpolation", "resize_mode")
    tags = {tag: {key: about.get(key) for key in keys} for tag, about in _catalogue().get(model, {}).items()}
    different = [tag for tag, steps in tags.items() if steps != next(iter(tags.values()))]
    if different:
        raise ConfigError(
            f"the published weights of {model} want their pictures prepared in different ways",
            f"Name the ones that yours began as: clip:{model}/{next(iter(tags))} or clip:{model}/{different[0]}, ...",
        )
    return next(iter(tags.values()), {})


def check_origin(model: str, weights: Path) -> None:
    """Raises EncoderError for a file in the hub's cache that is known to be of another activation than ``model``."""
    quick = bool(model_config(model).get("quick_gelu", False))
    for name, tags in _catalogue().items():
        for tag, about in tags.items():
            folder = f"models--{about.get('hf_hub', '').strip('/').replace('/', '--')}"
            if folder in weights.parts and bool(about.get("quick_gelu", False)) != quick:
                needs, computes = ("GELU", "QuickGELU") if quick else ("QuickGELU", "GELU")
                raise EncoderError(
                    f"{weights} ({name}/{tag}) was trained with {needs}, the model {model} computes {computes}",
                    f"Use clip:{model.removesuffix('-quickgelu')}{'' if quick else '-quickgelu'}",
                )


@functools.cache
def _catalogue() -> dict[str, dict[str, Any]]:
    """``open_clip.pretrained._PRETRAINED``, by running that file's own statements without its imports of torch."""
    source = ast.parse((_package() / "pretrained.py").read_text())
    kept = [node for node in source.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Try)]
    scope: dict[str, Any] = {"copy": copy, "os": os, "partial": functools.partial, **vars(typing)}
    try:
        exec((_package() / "constants.py").read_text(), scope)
        exec(compile(ast.Module(kept, []), "open_clip/pretrained.py", "exec"), scope)
        found: dict[str, dict[str, Any]] = scope["_PRETRAINED"]
    except (KeyError, NameError, TypeError, ValueError, AttributeError, SyntaxError):
        # another layout of that file: the slow way is always right
        import open_clip.pretrained

        found = open_clip.pretrained._PRETRAINED
    return found


def _package() -> Path:
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise EncoderError("open_clip is not installed", "pip install open_clip_torch")
    return Path(found.origin).parent
