"""What all settings are made of: frozen models, unknown keys refused with the nearest known one."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from clipfuse.errors import ConfigError
from clipfuse.registry import did_you_mean


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(BaseModel):
    """One of several registered kinds, by its name, and what is set of it: only that kind can check the rest."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    def model_post_init(self, _context: Any) -> None:
        """The name always counts as set: what else is set belongs to it."""
        self.model_fields_set.add("kind")

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


S = TypeVar("S", bound=BaseModel)


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

    A change may be a dictionary, for settings inside of settings. Another ``kind`` of something drops what was set of
    the old one.

    Raises:
        ConfigError: a value that can't be.
    """
    return build_settings(type(settings), _merged(settings.model_dump(exclude_unset=True), changes), "options")


def _merged(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    if changes.get("kind") not in (None, old.get("kind")):
        result = {}
    for name, value in changes.items():
        if isinstance(value, dict):
            before = result.get(name)
            inner = _merged(before if isinstance(before, dict) else {}, value)
            if inner or isinstance(before, dict):
                result[name] = inner
        elif value is not None:
            result[name] = value
    return result


def _known_keys(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    here: Any = kind
    for part in location[:-1]:
        field = here.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        here = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), here)
    return list(here.model_fields)
