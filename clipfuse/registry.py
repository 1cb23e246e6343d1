"""One registry class for encoders, heads, fusions, losses and baselines."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from clipfuse.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to factories. ``kind`` is the word used in messages ("head", "fusion", ...)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an entry under ``name``.

        Raises:
            ValueError: the name is taken; the message names the first owner.
        """

        def decorate(entry: T) -> T:
            if name in self._entries:
                owner = self._entries[name]
                where = f"{getattr(owner, '__module__', '?')}.{getattr(owner, '__qualname__', owner)}"
                raise ValueError(f"{self.kind} {name!r} is already registered by {where}")
            self._entries[name] = entry
            return entry

        return decorate

    def get(self, name: str) -> T:
        """The entry called ``name``.

        Raises:
            UnknownName: nothing is registered under it; the message names the nearest.
        """
        if name not in self._entries:
            raise UnknownName(f"unknown {self.kind} {name!r}", did_you_mean(name, self._entries))
        return self._entries[name]

    def entries(self) -> list[T]:
        """All of them, in the order in which they were registered."""
        return list(self._entries.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of the ``known`` names, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}"
