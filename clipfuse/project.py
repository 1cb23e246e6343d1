"""Reading and writing ``clipfuse.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from clipfuse.config import ProjectConfig, Settings
from clipfuse.errors import ConfigError
from clipfuse.registry import did_you_mean

FILE_NAME = "clipfuse.toml"
S = TypeVar("S", bound=Settings)


def load_project(folder: Path) -> ProjectConfig:
    """The settings in ``folder``'s clipfuse.toml; the defaults where there is none.

    Raises:
        ConfigError: not TOML, an unknown key (the nearest one is named), or a value that can't be.
    """
    path = folder / FILE_NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ProjectConfig()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} can't be read ({error})", "Mend it, or make a new one with clipfuse init") from error
    return build_settings(ProjectConfig, values, str(path))


def save_project(folder: Path, config: ProjectConfig) -> Path:
    """Write clipfuse.toml, complete or not at all, with what differs from the defaults. Returns its path."""
    import tomli_w

    from clipfuse_cache.atomic import write_bytes

    values = config.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    write_bytes(folder / FILE_NAME, tomli_w.dumps(values).encode())
    return folder / FILE_NAME


def build_settings(kind: type[S], values: dict[str, Any], where: str) -> S:
    """Settings from plain values.

    Raises:
        ConfigError: naming ``where``, the key, what was expected and the nearest known key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(kind, first["loc"])
            raise ConfigError(
                f"{where}: unknown setting {key!r}", did_you_mean(str(first["loc"][-1]), known)
            ) from error
        raise ConfigError(f"{where}: {key} is {first['input']!r}: {first['msg']}") from error


def updated(settings: S, **changes: Any) -> S:
    """A copy of ``settings`` in which every change that is not None replaces the old value, checked again.

    A change may be a dictionary, for settings inside of settings.

    Raises:
        ConfigError: a value that can't be.
    """
    return build_settings(type(settings), _merged(settings.model_dump(), changes), "options")


def _merged(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = _merged(result[name], value)
        elif isinstance(value, dict):
            kept = {key: inner for key, inner in value.items() if inner is not None}
            result[name] = kept or result.get(name)
        elif value is not None:
            result[name] = value
    return result


def _known_keys(kind: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    here: Any = kind
    for part in location[:-1]:
        field = here.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        here = next((c for c in candidates if isinstance(c, type) and issubclass(c, Settings)), here)
    return list(here.model_fields)
