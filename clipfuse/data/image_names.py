"""Pictures by the names that tables give them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from clipfuse.errors import ImageSourceError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".avif", ".heic", ".heif", ".jp2",
))
# fmt: on


class NameIndex:
    """Finds a picture among the names of a source, without ever leaving them.

    A reference is an exact relative path, or the end of one ("3.jpg" for "train/3.jpg"), or has a path of its
    own of which the source holds the end ("/home/me/train/3.jpg"). The suffix's case does not matter, and it
    may be missing.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._by_stem: dict[str, list[str]] = {}
        for name in self._names:
            self._by_stem.setdefault(_stem(_base(name)), []).append(name)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def find(self, reference: str) -> str | None:
        """The name that ``reference`` stands for, or None.

        Raises:
            ImageSourceError: it may stand for several.
        """
        reference = reference.strip()
        if reference in self._names:
            return reference
        parts = [part for part in reference.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        base, folders = parts[-1], parts[:-1]
        candidates = [name for name in self._by_stem.get(_stem(base), ()) if _ends_alike(name, folders)]
        for alike in (_same, _same_but_case, _one_bare):
            found = [name for name in candidates if alike(_base(name), base)]
            if len(found) > 1:  # the whole path decides, before it is called unclear
                found = [name for name in found if name.split("/")[:-1] == folders] or found
            if len(found) > 1:
                first, second = sorted(found)[:2]
                fix = "Name it by its path, with its suffix"
                raise ImageSourceError(f"{reference!r} may be {first!r} or {second!r}", fix)
            if found:
                return found[0]
        return None


def make_stamp(*parts: int) -> int:
    """One number below 2**63 from several."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def is_hidden(name: str) -> bool:
    """Whether a path has a part that is hidden, or that only a Mac wrote."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(base: str) -> str:
    stem, dot, suffix = base.rpartition(".")
    return stem if stem and dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else base


def _same(name: str, base: str) -> bool:
    return name == base


def _same_but_case(name: str, base: str) -> bool:
    return name.lower() == base.lower()


def _one_bare(name: str, base: str) -> bool:
    return (_stem(name) == name) != (_stem(base) == base)


def _ends_alike(name: str, folders: list[str]) -> bool:
    """Whether the folders of one path are the end of the other's: never "val/1.jpg" for "train/1.jpg"."""
    own = name.split("/")[:-1]
    shared = min(len(own), len(folders))
    return not shared or own[-shared:] == folders[-shared:]
