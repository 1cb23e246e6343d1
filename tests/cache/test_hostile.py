"""HDF5 files made to reach outside of themselves, with a seal and a manifest that are right for them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import h5py
import numpy as np
import pytest

from clipfuse_cache import CacheCorrupt, FeatureTable
from clipfuse_cache.hdf5 import SEAL_BYTES
from clipfuse_cache.manifest import read_manifest, write_manifest


def external_storage(file, outside):
    shape = file["values"].shape
    del file["values"]
    secret = [(str(outside / "secret"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("values", shape, "float16", external=secret)


def virtual(file, outside):
    shape = file["values"].shape
    layout = h5py.VirtualLayout(shape, "float16")
    layout[:] = h5py.VirtualSource(str(outside / "other.h5"), "values", shape)
    del file["values"]
    file.create_virtual_dataset("values", layout)


def soft_link(file, _outside):
    file.move("values", "elsewhere")
    file["values"] = h5py.SoftLink("/elsewhere")


def external_link(file, outside):
    del file["values"]
    file["values"] = h5py.ExternalLink(str(outside / "other.h5"), "/values")


def huge(file, _outside):
    del file["digests"]
    file.create_dataset("digests", (2**46, 16), "uint8", chunks=(256, 16))


def huge_reasons(file, _outside):
    del file["failures"]
    file.create_dataset("failures", (2**50,), "uint8", chunks=(2**20,), compression="gzip", fillvalue=0x20)


def variable_length_ids(file, _outside):
    del file["ids"]
    file["ids"] = np.array(["one", "two"], dtype=h5py.string_dtype())


def variable_length_bytes(file, _outside):
    del file["failures"]
    file.create_dataset("failures", (1,), h5py.vlen_dtype(np.uint8))


def variable_length_attribute(file, _outside):
    value = file.attrs["fingerprint"].decode()
    del file.attrs["fingerprint"]
    file.attrs["fingerprint"] = value


def array_attribute(file, _outside):
    file.attrs["index"] = np.zeros(1000, np.int64)


def references(file, _outside):
    del file["ids"]
    file.create_dataset("ids", data=np.array([file["values"].ref] * 4, dtype=h5py.ref_dtype))


def group(file, _outside):
    del file["valid"]
    file.create_group("valid")


def null_space(file, _outside):
    del file["valid"]
    file["valid"] = h5py.Empty("uint8")


def named_type(file, _outside):
    del file["valid"]
    file["valid"] = np.dtype("uint8")


def deep_reasons(file, _outside):
    del file["failures"]
    file["failures"] = np.frombuffer(b"[" * 100_000, np.uint8)


def odd_reasons(file, _outside):
    del file["failures"]
    file["failures"] = np.frombuffer(b'[["x", 1, 2]]', np.uint8)


def twice_the_same_id(file, _outside):
    ids, ends = file["ids"][()], file["id_offsets"][()]
    ids[int(ends[1]) : int(ends[2])] = ids[: int(ends[1])]
    file["ids"][...] = ids


def nothing_at_all(*_):
    pass


def only_a_seal(*_):
    pass


CASES = [
    nothing_at_all,
    only_a_seal,
    external_storage,
    virtual,
    soft_link,
    external_link,
    huge,
    huge_reasons,
    variable_length_ids,
    variable_length_bytes,
    variable_length_attribute,
    array_attribute,
    references,
    group,
    null_space,
    named_type,
    deep_reasons,
    odd_reasons,
    twice_the_same_id,
]


def forge(folder, make, outside):
    """Shard 0 of the table in ``folder`` after ``make``, with a manifest that names its SHA-256."""
    path = folder / "shard-000000.h5"
    memory = io.BytesIO(path.read_bytes()[:-SEAL_BYTES])
    if make is nothing_at_all:
        data = b""
    elif make is only_a_seal:
        data = hashlib.sha256(b"").digest()
    else:
        with h5py.File(memory, "r+") as file:
            make(file, outside)
        data = memory.getvalue()
        data += hashlib.sha256(data).digest()
    path.write_bytes(data)
    manifest = read_manifest(folder)
    if manifest is not None:
        entry = replace(manifest.shards[0], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        write_manifest(folder, replace(manifest, shards=(entry, *manifest.shards[1:])))


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(10_000))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.ones((4, 1, 8), np.float16)
    return tmp_path


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_hostile_shard_is_refused(toy, tmp_path, outside, make):
    folder, texts = tmp_path / "table", toy.inputs(8)
    toy.extract(folder, texts)
    forge(folder, make, outside)
    with pytest.raises(CacheCorrupt, match=r"shard-000000.h5: .*clipfuse extract"):
        FeatureTable.open(folder).take(["row-0"])


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_hostile_shard_of_an_unfinished_table_is_made_again(toy, tmp_path, outside, make):
    folder, texts = tmp_path / "table", toy.inputs(8)
    toy.extract(folder, texts, stop_after=1)
    forge(folder, make, outside)
    assert toy.extract(folder, texts) == list(texts)
    toy.check(folder, texts)


def test_a_forged_shard_that_is_otherwise_right_would_be_read(toy, tmp_path, outside):
    """The forging itself is not what is refused above."""
    folder, texts = tmp_path / "table", toy.inputs(8)
    toy.extract(folder, texts)
    forge(folder, lambda file, _: file.attrs.create("more", 1), outside)
    toy.check(folder, texts)
