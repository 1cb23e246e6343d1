"""Pictures in a zip or a plain tar, read in place: never unpacked, safe from several threads."""

from __future__ import annotations

import os
import struct
import tarfile
import threading
import weakref
import zipfile
import zlib
from pathlib import Path

from clipfuse.data.image_names import NameIndex, is_hidden, make_stamp
from clipfuse.errors import ImageSourceError

_EDGE = 1024  # bytes of a tar member's start and end that its stamp looks at


class TarImages:
    """The regular files of an uncompressed tar; links, sparse and hidden members are left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, tuple[int, int, int]] = {}  # name -> place, size, time
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if member.isreg() and not member.issparse() and not is_hidden(name):
                        self._members[name] = (member.offset_data, member.size, int(member.mtime))
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            fix = "Give a folder, a .zip or a plain .tar of pictures"
            raise ImageSourceError(f"{path} can't be read as a tar: {error}", fix) from None
        except OSError as error:
            raise ImageSourceError(f"{path} can't be read: {error}", "Check the path and its permissions") from None
        self._index = NameIndex(self._members)
        self._file = _open(self, path)

    def find(self, reference: str) -> str | None:
        """The member that a table calls ``reference``: see ``NameIndex``.

        Raises:
            ImageSourceError: it may be one of several.
        """
        return self._index.find(reference)

    def read(self, key: str) -> bytes:
        """The member's bytes. Raises OSError."""
        place, size, _ = self._member(key)
        return _read_at(self._file, place, size, f"{key!r} in {self.path}")

    def stamp(self, key: str) -> int:
        """Changes with the member's size, time, or first and last kilobyte. Tars are often packed with all
        times set to zero, and so time and size alone would call another picture of the same size the same."""
        place, size, time = self._member(key)
        edge = os.pread(self._file, min(size, _EDGE), place)
        edge += os.pread(self._file, min(size, _EDGE), place + max(0, size - _EDGE))
        return make_stamp(size, time, zlib.crc32(edge))

    def _member(self, key: str) -> tuple[int, int, int]:
        if key not in self._members:
            raise FileNotFoundError(f"no picture {key!r} in {self.path}")
        return self._members[key]


class ZipImages:
    """The files of a zip, stored or deflated; hidden members are left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            fix = "Pack it again, or give the folder of pictures"
            raise ImageSourceError(f"{path} can't be read as a zip: {error}", fix) from None
        except OSError as error:
            raise ImageSourceError(f"{path} can't be read: {error}", "Check the path and its permissions") from None
        members = ((member.filename.removeprefix("./"), member) for member in self._archive.infolist())
        self._members = {name: member for name, member in members if not member.is_dir() and not is_hidden(name)}
        self._index = NameIndex(self._members)
        self._lock = threading.Lock()
        self._file = _open(self, path)

    def find(self, reference: str) -> str | None:
        """The member that a table calls ``reference``: see ``NameIndex``.

        Raises:
            ImageSourceError: it may be one of several.
        """
        return self._index.find(reference)

    def read(self, key: str) -> bytes:
        """The member's bytes, checked against its checksum. Raises OSError."""
        member = self._member(key)
        name = f"{key!r} in {self.path}"
        plain = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not member.flag_bits & 1
        data = self._read_plain(member, name) if plain else self._read_other(member, name)
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise OSError(f"{name} is damaged: its checksum does not fit")
        return data

    def stamp(self, key: str) -> int:
        """Changes with the member's checksum or size."""
        member = self._member(key)
        return make_stamp(member.CRC, member.file_size)

    def _read_plain(self, member: zipfile.ZipInfo, name: str) -> bytes:
        # Not through ZipFile.open: its count of open members is not safe from several threads.
        head = _read_at(self._file, member.header_offset, 30, name)
        if head[:4] != b"PK\x03\x04":
            raise OSError(f"{name} is damaged: no member begins there")
        names, extra = struct.unpack_from("<HH", head, 26)
        data = _read_at(self._file, member.header_offset + 30 + names + extra, member.compress_size, name)
        if member.compress_type == zipfile.ZIP_STORED:
            return data
        try:  # one byte more than declared at most, whatever the stream unfolds to
            return zlib.decompressobj(-15).decompress(data, member.file_size + 1)
        except zlib.error as error:
            raise OSError(f"{name} is damaged: {error}") from None

    def _read_other(self, member: zipfile.ZipInfo, name: str) -> bytes:
        try:
            with self._lock, self._archive.open(member) as file:
                return file.read(member.file_size + 1)
        except (RuntimeError, NotImplementedError, zipfile.BadZipFile, EOFError, ValueError) as error:
            raise OSError(f"{name} can't be read: {error}") from None

    def _member(self, key: str) -> zipfile.ZipInfo:
        if key not in self._members:
            raise FileNotFoundError(f"no picture {key!r} in {self.path}")
        return self._members[key]


def _open(owner: object, path: Path) -> int:
    file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    weakref.finalize(owner, os.close, file)
    return file


def _read_at(file: int, place: int, size: int, name: str) -> bytes:
    parts = []
    while size:
        part = os.pread(file, min(size, 1 << 30), place)
        if not part:
            raise OSError(f"{name} is cut short")
        parts.append(part)
        place += len(part)
        size -= len(part)
    return b"".join(parts)
