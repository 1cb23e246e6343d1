"""timm's lists of models and of published weights, read without importing timm where that is possible."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from clipfuse.errors import EncoderError, UnknownName

_NEAR = 3


def check_architecture(target: str) -> None:
    """Raises UnknownName where timm has no architecture of the name in "NAME.TAG"."""
    architectures, _ = _names()
    name = target.partition(".")[0]
    if architectures and name not in architectures:
        near = nearest_names(target) or difflib.get_close_matches(name, architectures, n=_NEAR)
        hint = f"Did you mean {' or '.join(repr(f'timm:{one}') for one in near)}?" if near else "See timm.list_models()"
        raise UnknownName(f"timm has no model {name!r}", hint)


def nearest_names(target: str) -> list[str]:
    """The published "NAME.TAG" that are most like this one, the nearest first; nothing where it is one of them."""
    _, published = _names()
    return [] if target in published else difflib.get_close_matches(target, published, n=_NEAR)


def published_config(target: str) -> dict[str, Any]:
    """What timm itself knows of the weights "NAME.TAG", in the layout of their config.json. Imports timm.

    Raises:
        UnknownName: timm knows no such weights.
    """
    import timm
    import torch
    from timm.models import get_pretrained_cfg

    name = target.partition(".")[0]
    try:
        published = get_pretrained_cfg(target, allow_unregistered=False)
    except RuntimeError:
        published = None
    if published is None:
        near = nearest_names(target)
        raise UnknownName(f"timm knows no weights {target!r}", f"Did you mean 'timm:{near[0]}'?" if near else "")
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    config: dict[str, Any] = {
        "architecture": name,
        "num_features": model.num_features,
        "global_pool": getattr(model, "global_pool", None),
        "pretrained_cfg": published.to_dict(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(config))  # a file has lists where timm has tuples
    return plain


@functools.cache
def _names() -> tuple[frozenset[str], frozenset[str]]:
    """(architectures, NAME.TAGs) in the sources of timm's models. A few tags are made by code and missing here."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        raise EncoderError("timm is not installed", "pip install timm")
    architectures: set[str] = set()
    published: set[str] = set()
    for path in (Path(found.origin).parent / "models").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        architectures.update(re.findall(r"@register_model\s*\ndef (\w+)\(", source))
        published.update(re.findall(r"""['"](\w+\.[a-z0-9_]+)['"]\s*:""", source))
    return frozenset(architectures), frozenset(name for name in published if name.partition(".")[0] in architectures)
