"""Pictures in a folder, a zip or a tar, found by the names that tables use and read in place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from clipfuse.data.archives import TarImages, ZipImages
from clipfuse.data.dataset import ImageSource
from clipfuse.data.image_names import NameIndex, is_hidden, make_stamp
from clipfuse.errors import ImageSourceError

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "z"),
    b"BZh": ("bzip2", "j"),
    b"\xfd7zXZ\x00": ("xz", "J"),
    b"\x28\xb5\x2f\xfd": ("zstd", " --zstd "),
}


def open_images(path: Path) -> ImageSource:
    """The pictures in ``path``: a folder with all below it, a .zip or a plain .tar.

    Raises:
        ImageSourceError: nothing is there, it is compressed as a whole, or it is none of the three.
    """
    try:
        if path.is_dir():
            return FolderImages(path)
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        fix = "Give the folder, .zip or .tar that holds the pictures"
        raise ImageSourceError(f"there are no pictures at {path}", fix) from None
    except (OSError, ValueError) as error:
        raise ImageSourceError(f"{path} can't be read: {error}", "Check the path and its permissions") from None
    for magic, (name, flag) in _COMPRESSED.items():
        if head.startswith(magic):
            fix = f"Unpack it: mkdir -p images && tar -x{flag}f {path} -C images, then give images"
            problem = f"{path} is compressed with {name}; single pictures can't be read out of it"
            raise ImageSourceError(problem, fix)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or path.suffix.lower() == ".zip":
        return ZipImages(path)
    return TarImages(path)


class FolderImages:
    """All files in a folder and below it. Hidden ones are left out; links are followed, but not in circles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = os.path.normpath(path.absolute())
        self._index = NameIndex(_walk(self._root))

    def find(self, reference: str) -> str | None:
        """The file that a table calls ``reference``: see ``NameIndex``.

        Raises:
            ImageSourceError: it may be one of several.
        """
        inside = _inside(self._root, reference)
        return inside if inside is not None and inside in self._index else self._index.find(reference)

    def read(self, key: str) -> bytes:
        """The file's bytes. Raises OSError."""
        return self._file(key).read_bytes()

    def stamp(self, key: str) -> int:
        """Changes with the file's size or time. Raises OSError."""
        status = self._file(key).stat()
        return make_stamp(status.st_size, status.st_mtime_ns)

    def _file(self, key: str) -> Path:
        if key not in self._index:
            raise FileNotFoundError(f"no picture {key!r} in {self.path}")
        return Path(self._root, key)


class NeighbourImages:
    """Files named by their path from a folder, which is not searched: for a table without a source of pictures
    whose folder may be anything, even somebody's home."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = os.path.normpath(path.absolute())

    def find(self, reference: str) -> str | None:
        """The relative path that ``reference`` is, if such a file lies in the folder or below it."""
        for name in (reference.strip(), reference.strip().replace("\\", "/")):
            inside = _inside(self._root, name)
            if inside is not None and os.path.isfile(f"{self._root}/{inside}"):  # noqa: PTH113 (Path is too slow)
                return inside
        return None

    def read(self, key: str) -> bytes:
        """The file's bytes. Raises OSError."""
        return self._file(key).read_bytes()

    def stamp(self, key: str) -> int:
        """Changes with the file's size or time. Raises OSError."""
        status = self._file(key).stat()
        return make_stamp(status.st_size, status.st_mtime_ns)

    def _file(self, key: str) -> Path:
        if _inside(self._root, key) != key:
            raise FileNotFoundError(f"no picture {key!r} in {self.path}")
        return Path(self._root, key)


def _walk(root: str) -> Iterator[str]:
    """Relative paths of all files, sorted. A folder that can't be listed is passed over."""
    names: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        start = "" if folder == root else os.path.relpath(folder, root).replace(os.sep, "/") + "/"
        names.extend(start + name for name in files if not name.startswith("."))
    return iter(sorted(names))


def _inside(root: str, reference: str) -> str | None:
    """``reference`` as a path from ``root``; None where it leads out of it or is no path."""
    if not reference or "\x00" in reference:
        return None
    path = os.path.normpath(reference if reference.startswith("/") else f"{root}/{reference}")
    prefix = root.rstrip(os.sep) + os.sep
    return path[len(prefix) :].replace(os.sep, "/") if path.startswith(prefix) else None
