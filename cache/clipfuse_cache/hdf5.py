"""HDF5 files, built in memory and read from files that are checked and open.

Never written through HDF5 itself: a kill or a full disk in the middle of that leaves files that can't be opened,
or that open with rows of zeros. Never opened from a path, and never before a SHA-256 has been checked: HDF5 reads
damaged bytes as wrong numbers, or crashes. A file ends with the SHA-256 of what stands before it, which HDF5 ignores.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.columns import Strings
from clipfuse_cache.errors import CacheCorrupt

CHUNK_ROWS = 256
SEAL_BYTES = 32
_CHUNK_ITEMS = 1 << 20  # where there is one dimension
_ATTRIBUTE_BYTES = 64 * 1024
_BLOCK = 1 << 20  # bytes that are hashed at once
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError)  # what h5py raises over damage


class Sealed(NamedTuple):
    """A file's bytes, the seal at their end included, and the SHA-256 (hex) of all of them."""

    data: bytes
    sha256: str


def build(attributes: Mapping[str, str | int], datasets: Mapping[str, NDArray[Any]]) -> Sealed:
    """An HDF5 file with these root attributes and datasets.

    Every dataset is chunked by 256 rows (of one dimension: by 2**20 items) and carries a fletcher32 checksum; empty
    ones are stored as they are. Strings are fixed-width. Equal input gives equal bytes.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w", track_order=False) as file:
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
        for name, values in datasets.items():
            if values.size == 0:
                file.create_dataset(name, data=values, track_times=False)
                continue
            most = CHUNK_ROWS if values.ndim > 1 else _CHUNK_ITEMS
            chunks = (min(most, values.shape[0]), *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunks, fletcher32=True, track_times=False)
    with memory.getbuffer() as image:
        found = hashlib.sha256(image)
    seal = found.digest()
    found.update(seal)  # goes on from there: the file's own SHA-256 without reading it again
    memory.seek(0, io.SEEK_END)
    memory.write(seal)
    return Sealed(memory.getvalue(), found.hexdigest())


class Reader:
    """Datasets and attributes of an HDF5 file that is in memory or open; ``name`` is used in messages.

    Refuses anything through which a file could reach outside of itself or lie about its size: links,
    external storage, virtual datasets, variable-length types, compression, shapes that the bytes can't hold.

    Args:
        source: the file's bytes, or the open file: one that is replaced meanwhile stays the one that was checked.
        name: for messages.
        sha256: SHA-256 (hex) of the file where it is known from elsewhere; else the one at its end is checked.

    Attributes:
        bytes: size of the file.
        sha256: SHA-256 (hex) of the file.

    Raises:
        CacheCorrupt: another SHA-256, not HDF5, or a dataset or attribute that is missing, refused or fails its
            checksum.
    """

    def __init__(self, source: bytes | BinaryIO, name: str, sha256: str | None = None) -> None:
        self.name = name
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        self.bytes = file.seek(0, io.SEEK_END)
        self.sha256, sealed = _hashed(file, self.bytes)
        if not (sealed if sha256 is None else self.sha256 == sha256):
            raise self.corrupt("not the file that was written (its SHA-256 differs)")
        try:
            self._file = h5py.File(file, "r")
        except (OSError, ValueError, RuntimeError, OverflowError) as error:
            raise self.corrupt("not an HDF5 file") from error

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def attribute(self, name: str) -> str | int:
        """A root attribute that is a string or an integer."""
        try:
            found = self._file.attrs.get_id(name)
            if found.shape != () or found.dtype.kind not in "iuS" or found.dtype.itemsize > _ATTRIBUTE_BYTES:
                raise self.corrupt(f"attribute {name!r} is neither a plain string nor an integer")
            held = np.empty((), found.dtype)
            found.read(held)  # the lower half here, too
            value = held[()]
            return bytes(value).decode() if found.dtype.kind == "S" else int(value)
        except _UNREADABLE as error:
            raise self.corrupt(f"attribute {name!r} can't be read ({error})") from error

    def dataset(
        self, name: str, dtype: str, shape: tuple[int | None, ...], into: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """A dataset of this dtype and shape; None stands for any length. It is read ``into`` an array of just that
        dtype and shape, contiguous, or into a new one."""
        found = self.check(name, dtype, shape)
        values = np.empty(found.shape, found.dtype) if into is None else into
        try:
            if values.size:
                found.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        except _UNREADABLE as error:
            raise self.corrupt(f"dataset {name!r} can't be read ({error})") from error
        return values

    def check(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> h5py.h5d.DatasetID:
        """Make sure that a dataset is plain and of this dtype and shape, without reading it."""
        try:
            # h5py's lower half: a shard has seven datasets, and its upper half takes longer than to read them
            root, key = self._file.id, name.encode()
            if key not in root or root.links.get_info(key).type != h5py.h5l.TYPE_HARD:
                raise self.corrupt(f"dataset {name!r} is missing or a link")
            found = h5py.h5o.open(root, key)
            settings = found.get_create_plist() if isinstance(found, h5py.h5d.DatasetID) else None
            if settings is None or settings.get_external_count() or settings.get_layout() == h5py.h5d.VIRTUAL:
                raise self.corrupt(f"{name!r} is not a plain dataset")
            fits = len(found.shape) == len(shape) and all(
                expected in (None, length) for length, expected in zip(found.shape, shape, strict=True)
            )
            if not (fits and found.dtype == np.dtype(dtype)):
                raise self.corrupt(f"{name!r} is {found.dtype} {found.shape}, expected {dtype} {shape}")
            size = math.prod(found.shape) * found.dtype.itemsize
            if size > self.bytes:
                raise self.corrupt(f"{name!r} declares {size:,} bytes, the file has {self.bytes:,}")
            if not _plain_chunks(settings, found.dtype.itemsize, self.bytes):
                raise self.corrupt(f"{name!r} is compressed, or its chunks are larger than the file")
            return found
        except _UNREADABLE as error:
            raise self.corrupt(f"dataset {name!r} can't be read ({error})") from error

    def corrupt(self, problem: str) -> CacheCorrupt:
        """The error that says ``problem`` about this file and what to do."""
        return CacheCorrupt(f"{self.name}: {problem}", "Delete the file and run clipfuse extract again")


def _plain_chunks(settings: h5py.h5p.PropDCID, item: int, size: int) -> bool:
    """No filter but fletcher32, and no chunk of more than ``size`` bytes. HDF5 takes memory for a whole chunk, which
    can be larger than the dataset and compress to almost nothing; other filters can be plugins."""
    filters = {settings.get_filter(number)[0] for number in range(settings.get_nfilters())}
    chunk = settings.get_chunk() if settings.get_layout() == h5py.h5d.CHUNKED else (0,)
    return filters <= {h5py.h5z.FILTER_FLETCHER32} and math.prod(chunk) * item <= size


def _hashed(file: BinaryIO, size: int) -> tuple[str, bool]:
    """SHA-256 (hex) of the file, and whether the one at its end is that of what stands before it: both in one pass."""
    found, left = hashlib.sha256(), max(0, size - SEAL_BYTES)
    if isinstance(file, io.BytesIO):
        with file.getbuffer() as image:
            found.update(image[:left])  # at once: beside it another thread can work
        file.seek(left)
    else:
        file.seek(0)
        while block := file.read(min(left, _BLOCK)):
            found.update(block)
            left -= len(block)
    before, seal = found.digest(), file.read()
    found.update(seal)
    return found.hexdigest(), before == seal


def pack_strings(values: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Byte strings as one (total,) uint8 array and (n + 1,) uint64 offsets into it."""
    offsets = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum([len(value) for value in values], out=offsets[1:], dtype=np.uint64)
    return np.frombuffer(b"".join(values), dtype=np.uint8), offsets


def unpack_strings(data: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> list[str]:
    """The inverse of :func:`pack_strings`, decoded as UTF-8. Raises ValueError where it can't be."""
    return list(Strings.unpack(data, offsets))
