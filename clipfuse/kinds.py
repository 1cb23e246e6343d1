"""Registered kinds of something that is built from settings of its own: heads, fusions, losses, combiners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from clipfuse.registry import Registry
from clipfuse.settings import Choice, Settings, build_settings

M = TypeVar("M")
S = TypeVar("S", bound=Settings)


class Kinds(Generic[M]):
    """Names to kinds. ``what`` is the word used in messages ("head", "fusion", ...)."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._makers: Registry[Callable[..., M]] = Registry(what)
        self._settings: dict[str, type[Settings]] = {}

    def register(self, name: str, settings: type[S]) -> Callable[[Callable[..., M]], Callable[..., M]]:
        """Decorator that files a function (or class) that makes one, whose last argument are the settings.

        Raises:
            ValueError: the name is taken; the message names the first owner.
        """

        def decorate(make: Callable[..., M]) -> Callable[..., M]:
            self._makers.register(name)(make)
            self._settings[name] = settings
            return make

        return decorate

    def settings(self, choice: Choice) -> Settings:
        """What is set of the kind that is chosen, checked, with its defaults.

        Raises:
            UnknownName: no such kind.
            ConfigError: a setting that it does not have, or a value that can't be.
        """
        self._makers.get(choice.kind)
        return build_settings(self._settings[choice.kind], choice.options, f"{self.what} {choice.kind}")

    def build(self, choice: Choice, *arguments: Any) -> M:
        """Make what is chosen. Raises UnknownName or ConfigError."""
        return self._makers.get(choice.kind)(*arguments, self.settings(choice))

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __len__(self) -> int:
        return len(self._makers)
