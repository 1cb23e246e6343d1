"""Columns of very many small values in little memory: each value is made when it is asked for."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.fingerprint import DIGEST_BYTES, input_digest

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_BLOCK = 4096  # values that are made at once by whoever goes through all of them


class Column(Sequence[T_co]):
    """Values that never change, of which only a compact form is kept. Equal to any sequence of equal values."""

    @abstractmethod
    def _item(self, row: int) -> T_co:
        """One value; ``row`` is not negative."""

    @abstractmethod
    def _block(self, start: int, end: int) -> list[T_co]:
        """The values from ``start`` to ``end``: the same, faster."""

    @overload
    def __getitem__(self, key: int) -> T_co: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[T_co, ...]: ...
    def __getitem__(self, key: int | slice) -> T_co | tuple[T_co, ...]:
        if isinstance(key, slice):
            return tuple(map(self._item, range(*key.indices(len(self)))))
        return self._item(range(len(self))[key])

    def __iter__(self) -> Iterator[T_co]:
        for start in range(0, len(self), _BLOCK):
            yield from self._block(start, min(start + _BLOCK, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"<{type(self).__name__} of {len(self)}: {shown}{', …' if len(self) > 3 else ''}>"


class Strings(Column[str]):
    """Strings as their UTF-8, one after the other.

    Attributes:
        data: (bytes,) uint8.
        offsets: (n + 1,) uint64; string ``i`` is bytes ``offsets[i]`` to ``offsets[i + 1]``.
    """

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> None:
        self.data = data
        self.offsets = offsets
        self._bytes = memoryview(data.data)  # faster for one string at a time
        self._bounds = memoryview(offsets.data)

    @classmethod
    def pack(cls, values: Iterable[str]) -> Strings:
        """``values`` in their compact form; itself where it is one already."""
        if isinstance(values, Strings):
            return values
        packer = Packer()
        for value in values:
            packer.add(value)
        return packer.strings()

    @classmethod
    def unpack(cls, data: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> Strings:
        """From what a file holds. Raises ValueError where the offsets do not fit, or a string is no UTF-8."""
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(data) or np.any(offsets[1:] < offsets[:-1]):
            raise ValueError("string offsets do not fit their bytes")
        found = cls(data, offsets)
        for start in range(0, len(found), _BLOCK):
            # strings are UTF-8 if all of them together are, and none begins within a character
            bounds = offsets[start : start + _BLOCK + 1]
            str(found._bytes[bounds[0] : bounds[-1]], "utf-8")
            begins = data[bounds[:-1][bounds[:-1] < len(data)]]
            if np.any(begins & 0xC0 == 0x80):
                raise ValueError("a string begins within a character of its utf-8")
        return found

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            # NumPy would make an array as large as the text
            return np.array_equal(self.offsets, other.offsets) and self._bytes == other._bytes
        return super().__eq__(other)

    __hash__ = None

    def encoded(self, start: int, end: int) -> Iterator[bytes]:
        """The UTF-8 of the strings from ``start`` to ``end``."""
        bounds = self.offsets[start : end + 1].tolist()
        first = bounds[0]
        raw = self.data[first : bounds[-1]].tobytes()
        return (raw[here - first : there - first] for here, there in zip(bounds[:-1], bounds[1:], strict=True))

    def _item(self, row: int) -> str:
        return str(self._bytes[self._bounds[row] : self._bounds[row + 1]], "utf-8")

    def _block(self, start: int, end: int) -> list[str]:
        bounds = self.offsets[start : end + 1]
        raw = self.data[bounds[0] : bounds[-1]].tobytes()
        if not raw.isascii():
            return [value.decode() for value in self.encoded(start, end)]
        text, ends = raw.decode("ascii"), (bounds - bounds[0]).tolist()  # much faster all at once
        return [text[here:there] for here, there in zip(ends[:-1], ends[1:], strict=True)]

    @cached_property
    def places(self) -> Places:
        """Where each of them stands; made once."""
        return Places(self)


class Packer:
    """Packs strings one by one."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ends = array("Q", [0])

    def add(self, value: str) -> None:
        """The next one."""
        self._data += value.encode()
        self._ends.append(len(self._data))

    def strings(self) -> Strings:
        """All of them; no more can be added."""
        return Strings(np.frombuffer(self._data, dtype=np.uint8), np.frombuffer(self._ends, dtype=np.uint64))


class OptionalStrings(Column["str | None"]):
    """Strings, or None where there is none.

    Attributes:
        strings: (n,), empty where there is none.
        present: (n,) bool.
    """

    def __init__(self, strings: Strings, present: NDArray[np.bool_]) -> None:
        self.strings = strings
        self.present = present

    @classmethod
    def pack(cls, values: Iterable[str | None]) -> OptionalStrings:
        """``values`` in their compact form; itself where it is one already."""
        if isinstance(values, OptionalStrings):
            return values
        packer, present = Packer(), bytearray()
        for value in values:
            packer.add(value or "")
            present.append(value is not None)
        return cls(packer.strings(), np.frombuffer(present, dtype=np.bool_))

    @classmethod
    def absent(cls, count: int) -> OptionalStrings:
        """``count`` times None, in no memory."""
        no_bytes, offsets = np.zeros(0, dtype=np.uint8), np.broadcast_to(np.uint64(0), count + 1)
        return cls(Strings(no_bytes, offsets), np.broadcast_to(np.False_, count))

    def __len__(self) -> int:
        return len(self.strings)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, OptionalStrings):
            return np.array_equal(self.present, other.present) and self.strings == other.strings
        return super().__eq__(other)

    __hash__ = None

    def _item(self, row: int) -> str | None:
        return self.strings[row] if self.present[row] else None

    def _block(self, start: int, end: int) -> list[str | None]:
        there = self.present[start:end].tolist()
        return [text if known else None for text, known in zip(self.strings._block(start, end), there, strict=True)]


class Digests(Column[bytes]):
    """Input digests of 16 bytes. ``array``: (n, 16) uint8."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    @classmethod
    def of_strings(cls, texts: OptionalStrings) -> Digests:
        """Of each string's UTF-8; 16 zero bytes where there is none."""
        array = np.zeros((len(texts), DIGEST_BYTES), dtype=np.uint8)
        for start in range(0, len(texts), _BLOCK):
            end = min(start + _BLOCK, len(texts))
            block = b"".join(map(input_digest, texts.strings.encoded(start, end)))
            array[start:end] = np.frombuffer(block, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        array[~texts.present] = 0
        return cls(array)

    def __len__(self) -> int:
        return len(self.array)

    def count_distinct(self) -> int:
        """How many different inputs there are, absent ones left out."""
        keys = np.ascontiguousarray(self.array).view(np.uint64)[:, 0].copy()  # 64 bits of a SHA-256 tell them apart
        keys.sort()
        return int(np.count_nonzero(keys[1:] != keys[:-1])) + int(len(keys) > 0 and keys[0] != 0)

    def _item(self, row: int) -> bytes:
        return bytes(self.array[row])

    def _block(self, start: int, end: int) -> list[bytes]:
        raw = self.array[start:end].tobytes()
        return [raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES)]


class Places:
    """Where each of very many strings stands: 16 bytes for each, found by its hash."""

    def __init__(self, names: Sequence[str]) -> None:
        hashes = _hashes(names, len(names))
        self._names = names
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(n,) int64: the place of each of ``names``, -1 for those that are not there."""
        if names == self._names:
            return np.arange(len(names))
        found = np.full(len(names), -1, dtype=np.int64)
        wanted = iter(names)
        for start in range(0, len(names), _BLOCK):
            block = list(islice(wanted, _BLOCK))
            hashes = _hashes(block, len(block))
            first = np.searchsorted(self._hashes, hashes).tolist()
            for number, (name, value, at) in enumerate(zip(block, hashes.tolist(), first, strict=True), start=start):
                while at < len(self._hashes) and self._hashes[at] == value:
                    if self._names[self._order[at]] == name:
                        found[number] = self._order[at]
                        break
                    at += 1
        return found

    def __contains__(self, name: str) -> bool:
        return bool(self.find([name])[0] >= 0)

    def first_repeated(self) -> tuple[int, int] | None:
        """The first string that has stood before: (where it stood first, where it stands again)."""
        alike = self._hashes[1:] == self._hashes[:-1]
        suspects = np.union1d(self._order[:-1][alike], self._order[1:][alike])
        seen: dict[str, int] = {}
        for row in suspects.tolist():
            first = seen.setdefault(self._names[row], row)
            if first != row:
                return first, row
        return None


def take(values: Sequence[T], rows: Sequence[int]) -> list[T]:
    """Some of ``values``, as a list; much faster than one by one where the rows of a column follow each other."""
    if isinstance(values, Column) and len(rows) and list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return list(values._block(rows[0], rows[0] + len(rows)))
    return [values[row] for row in rows]


def places_of(names: Sequence[str]) -> Places:
    """Where each of ``names`` stands; made only once for those that keep it."""
    return names.places if isinstance(names, Strings) else Places(names)


def _hashes(names: Iterable[str], count: int) -> NDArray[np.int64]:
    return np.fromiter(map(hash, names), dtype=np.int64, count=count)
