"""``--set path=value``: every setting that has no option of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """``["head.blocks=3"]`` -> ``{"head": {"blocks": 3}}``. Values are TOML; a bare word is a string.

    Raises:
        ConfigError: not of that form, or one path inside of another's value.
    """
    from clipfuse.errors import ConfigError

    found: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        keys = path.strip().removeprefix("train.").split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set is {text!r}", "Give a path and a value, for example --set head.blocks=3")
        place = found
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text}: {key} was set to a value before", "Leave one of them out")
        place[keys[-1]] = _value(value.strip())
    return found


def merged(flags: dict[str, Any], assigned: dict[str, Any]) -> dict[str, Any]:
    """``assigned`` over ``flags``, table by table."""
    result = dict(flags)
    for key, value in assigned.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
