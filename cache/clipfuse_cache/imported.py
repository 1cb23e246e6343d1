"""Features that were made elsewhere, as a feature table of their own."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.cache import FeatureCache
from clipfuse_cache.errors import CacheError
from clipfuse_cache.fingerprint import NO_DIGEST, canonical_json, fingerprint
from clipfuse_cache.manifest import IDENTITY, IMPORTED, TableDescription
from clipfuse_cache.shard import Shard
from clipfuse_cache.table import FeatureTable

NOT_THERE = "not in the imported file"
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class ForeignFeatures:
    """Features by id, as a file gives them.

    Attributes:
        file: its name.
        ids: one per row.
        values: (rows, tokens, dim) of any number type; read from disk as it is used, where the file allows.
        valid: (rows,) bool.
    """

    file: str
    ids: tuple[str, ...]
    values: NDArray[Any]
    valid: NDArray[np.bool_]

    def blocks(self) -> Iterator[slice]:
        """Parts of the rows, a few megabytes each."""
        step = max(1, _BLOCK_BYTES // max(1, self.values[:1].nbytes))
        return (slice(start, start + step) for start in range(0, len(self.ids), step))

    def digest(self) -> str:
        """SHA-256 (hex) of the numbers, their shape and type, the ids and which rows are valid."""
        about = [list(self.values.shape), self.values.dtype.str, list(self.ids)]
        total = hashlib.sha256(canonical_json(about))
        for rows in self.blocks():
            total.update(np.ascontiguousarray(self.values[rows]).data)
            total.update(self.valid[rows].data)
        return total.hexdigest()


def read_foreign(path: Path, ids: Path | None = None) -> ForeignFeatures:
    """Features from a file: an array of (rows, dim) or (rows, tokens, dim) in .npy, with ``ids``, a file of one id a
    line; or what :func:`clipfuse_cache.export.export_table` wrote as .npz or .h5, which has its ids.

    Raises:
        CacheError: a file that can't be read, of another form or kind, or ids that do not fit the rows.
    """
    if path.suffix == ".npy" and ids is None:
        raise CacheError(f"{path} does not say whose features it holds", "Name a file of one id a line with --ids")
    if path.suffix in (".npz", ".h5") and ids is not None:
        raise CacheError(f"{path} has ids of its own", "Leave --ids out")
    try:
        if path.suffix == ".npy" and ids is not None:
            values, names, valid = np.load(path, mmap_mode="r", allow_pickle=False), _read_ids(ids), None
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                values, names, valid = file["features"], tuple(map(str, file["ids"])), file["valid"]
        elif path.suffix == ".h5":
            values, names, valid = _read_h5(path)
        else:
            raise CacheError(f"{path} is neither .npy nor .npz nor .h5", "Save the features with numpy.save")
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise CacheError(f"{path}: not an array of numbers, or not a file of ours ({error})") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim not in (2, 3):
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise CacheError(f"{path} holds {found}, expected numbers of (rows, dim) or (rows, tokens, dim)")
    if 0 in values.shape[1:]:
        raise CacheError(f"{path} holds rows of {values.shape[1:]}: there is nothing in them")
    if len(names) != len(values):
        where = ids or path
        raise CacheError(f"{len(names):,} ids in {where}, and {len(values):,} rows in {path}", "Give one id a row")
    if values.ndim == 2:
        values = values[:, None]
    if valid is None:
        valid = np.ones(len(values), dtype=np.bool_)
    elif valid.shape != (len(values),) or valid.dtype != np.bool_:
        raise CacheError(f"{path}: valid is {valid.dtype} {valid.shape}, expected bool {(len(values),)}")
    return ForeignFeatures(path.name, names, values, valid)


def import_features(
    cache: FeatureCache,
    given: ForeignFeatures,
    *,
    name: str,
    modality: str,
    storage: str = "float16",
    shard_rows: int = 2048,
) -> FeatureTable:
    """A table "NAME/MODALITY/imported" of ``given``, complete for the cache's samples.

    It is an encoder of its own, whose weights are :meth:`ForeignFeatures.digest`: other numbers are another table.
    Which inputs the features were made from can't be known; they are taken for those that the samples have now. Rows
    that ``given`` lacks are not valid, and failed where the sample has that input. Features of a sample that has no
    such input are taken as they are.

    Raises:
        CacheMissing: no cache there.
        CacheError: ids that are not the samples' or come twice, numbers that are not finite or too large for
            ``storage``, or a name that is empty, can't be printed or that another encoder of the modality has.
        DiskFull: the table can't be written.
    """
    samples = cache.samples()
    if not name.strip():
        raise CacheError("the imported features need a name", "Give one with --name")
    if not name.isprintable():  # line ends, escape sequences, half a pair of surrogates
        raise CacheError(f"the name {name!r} has characters that can't be printed", "Give another with --name")
    place_of = {known: place for place, known in enumerate(given.ids)}
    if len(place_of) < len(given.ids):
        twice = next(known for place, known in enumerate(given.ids) if place_of[known] != place)
        raise CacheError(
            f"{len(given.ids) - len(place_of):,} ids of {given.file} come more than once, the first is {twice!r}"
        )
    samples.rows(given.ids)  # raises where there are unknown ones
    _check_numbers(given, storage)
    encoder = {
        "modality": modality,
        "backend": IMPORTED,
        "model": {"name": name},
        "weights": given.digest(),
        "activation": "",
        "preprocessing": {},
        "precision": str(given.values.dtype),
        "view": IDENTITY,
        "output": IMPORTED,
        "storage": storage,
    }
    _, tokens, dim = given.values.shape
    about = TableDescription(
        f"{name}/{modality}/{IMPORTED}",
        fingerprint(encoder),
        encoder,
        tokens,
        dim,
        storage,
        {"file": given.file, "rows": len(given.ids), "weights_bytes": 0},
    )
    for table in cache.tables():
        other = table.description
        if (other.encoder_name, other.modality) == (name, modality) and other.encoder["backend"] != IMPORTED:
            raise CacheError(f"{cache.root} has an encoder {name!r} for {modality} already", "Choose another --name")
    digests = samples.input_digests(modality)
    writer = cache.writer(about, samples.ids, digests, shard_rows=shard_rows, batch_size=shard_rows)
    writer.begin()
    for index in writer.missing():
        rows = writer.rows_of(index)
        writer.write(
            index, _shard(given, [samples.ids[row] for row in rows], [digests[row] for row in rows], place_of, storage)
        )
    return writer.commit()


def _shard(
    given: ForeignFeatures, ids: list[str], digests: list[bytes], place_of: dict[str, int], storage: str
) -> Shard:
    values = np.zeros((len(ids), *given.values.shape[1:]), dtype=storage)
    valid = np.array([name in place_of and bool(given.valid[place_of[name]]) for name in ids], dtype=np.bool_)
    values[valid] = given.values[[place_of[name] for name, there in zip(ids, valid, strict=True) if there]]
    return Shard(
        ids=tuple(ids),
        digests=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, len(NO_DIGEST)),
        values=values,
        valid=valid,
        failures={row: NOT_THERE for row, digest in enumerate(digests) if not valid[row] and digest != NO_DIGEST},
    )


def _check_numbers(given: ForeignFeatures, storage: str) -> None:
    for rows in given.blocks():
        values = given.values[rows]
        for limit, problem, fix in (
            (values.dtype, "are not finite", "Leave such rows out, or mend them"),
            (storage, f"are too large for {storage}", "Import them with --storage float32"),
        ):
            with np.errstate(over="ignore"):
                fine = np.isfinite(values.astype(limit)).all(axis=(1, 2)) | ~given.valid[rows]
            if not fine.all():
                row = rows.start + int(np.argmin(fine))
                fix = fix if storage != "float32" or limit != storage else ""
                raise CacheError(f"{given.file}: features of {given.ids[row]!r} (row {row}) {problem}", fix)


def _read_ids(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CacheError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error
    if lines[-1] == "":
        lines.pop()
    return tuple(line.removesuffix("\r") for line in lines)


def _read_h5(path: Path) -> tuple[NDArray[Any], tuple[str, ...], NDArray[Any]]:
    with h5py.File(path, "r") as file:
        found = {}
        for name in ("features", "ids", "valid"):
            if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
                raise ValueError(f"no dataset {name!r}")
            found[name] = file[name]
            if found[name].external or found[name].is_virtual:
                raise ValueError(f"{name!r} is kept in another file")
        features = found["features"]
        offset = features.id.get_offset()
        names, valid = tuple(found["ids"].asstr()[()]), found["valid"][()]
        if offset is None:
            return features[()], names, valid
        return np.memmap(path, features.dtype, "r", offset, features.shape), names, valid
