"""Encoders' names taken apart: a model, and where its weights are."""

from __future__ import annotations

from pathlib import Path

from clipfuse.encoders.aliases import ALIASES

WEIGHTS_SIGN = "@"
"""In a name stands between the model and the path of its weights."""


def split_name(name: str) -> tuple[str, str | None]:
    """The model, and the path of its weights if any. A folder of one's own may have that sign in its name."""
    backend, _, target = name.partition(":")
    if target.startswith("local-dir:") or (backend == "hf" and target.startswith((".", "/", "~"))):
        return name, None
    model, sign, path = name.partition(WEIGHTS_SIGN)
    return model, path if sign else None


def name_in_folder(name: str) -> str:
    """The name under which an encoder is found when its files are in one folder: "{folder}" stands for its path."""
    model, _ = split_name(name)
    alias = ALIASES.get(model)
    backend, _, target = (alias.target if alias else model).partition(":")
    if target.startswith("local-dir:"):
        return f"{backend}:local-dir:{{folder}}"
    if backend == "hf" and (target.startswith((".", "/", "~")) or Path(target).is_dir()):
        return "hf:{folder}"
    return f"{model}{WEIGHTS_SIGN}{{folder}}"
