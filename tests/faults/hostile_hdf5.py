"""HDF5 files made to reach outside of themselves, to take all memory or to lie, with a seal that is right for them.

Each case spoils one file, in which ``at`` names the datasets that it may use: a large one ("values"), 16 bytes a row
("digests"), JSON ("json"), bytes of ids ("ids") and a byte a row ("flags").
"""

from __future__ import annotations

import hashlib
import io
import zlib

import h5py
import numpy as np

from clipfuse_cache.hdf5 import SEAL_BYTES

DATASETS = {
    "shard": {"values": "values", "digests": "digests", "json": "failures", "ids": "ids", "flags": "valid"},
    "samples": {
        "values": "labels",
        "digests": "image_digests",
        "json": "names",
        "ids": "ids",
        "flags": "caption_present",
    },
}
BOMB_BYTES = 2**28


def _replace(file, name, value, **settings):
    del file[name]
    file.create_dataset(name, data=value, **settings)


def external_storage(file, at, outside):
    shape, dtype = file[at["values"]].shape, file[at["values"]].dtype
    del file[at["values"]]
    file.create_dataset(at["values"], shape, dtype, external=[(str(outside / "secret"), 0, h5py.h5f.UNLIMITED)])


def virtual(file, at, outside):
    shape, dtype = file[at["values"]].shape, file[at["values"]].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(outside / "secret"), "values", shape)
    del file[at["values"]]
    file.create_virtual_dataset(at["values"], layout)


def soft_link(file, at, _outside):
    file.move(at["values"], "elsewhere")
    file[at["values"]] = h5py.SoftLink("/elsewhere")


def link_in_a_circle(file, at, _outside):
    del file[at["values"]]
    file[at["values"]] = h5py.SoftLink("/" + at["values"])


def external_link(file, at, outside):
    del file[at["values"]]
    file[at["values"]] = h5py.ExternalLink(str(outside / "secret"), "/values")


def the_root_in_place_of_a_dataset(file, at, _outside):
    del file[at["values"]]
    file[at["values"]] = file["/"]


def two_petabytes(file, at, _outside):
    del file[at["digests"]]
    file.create_dataset(at["digests"], (2**47, 16), "uint8", chunks=(256, 16))


def huge_json(file, at, _outside):
    del file[at["json"]]
    file.create_dataset(at["json"], (2**50,), "uint8", chunks=(2**20,), compression="gzip", fillvalue=0x20)


def _bomb(file, name, values, *, filled):
    """``values`` in a single chunk that is a quarter of a gigabyte large and takes a quarter of a megabyte."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((BOMB_BYTES,))
    if filled:
        settings.set_deflate(9)
    del file[name]
    space = h5py.h5s.create_simple(values.shape, (h5py.h5s.UNLIMITED,))
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_UINT8, space, settings)
    if filled:
        packer = zlib.compressobj(9)
        block = bytes(2**20)
        data = packer.compress(values.tobytes().ljust(2**20, b"\0"))
        data += b"".join(packer.compress(block) for _ in range(BOMB_BYTES // 2**20 - 1)) + packer.flush()
        made.write_direct_chunk((0,), data)


def bomb_in_a_chunk(file, at, _outside):
    _bomb(file, at["json"], file[at["json"]][()], filled=True)


def chunk_that_is_not_there(file, at, _outside):
    _bomb(file, at["json"], file[at["json"]][()], filled=False)


def chunk_shorter_than_it_says(file, at, _outside):
    """A quarter of a gigabyte by its settings, a few bytes in the file; they pass for right because the checksum is
    marked as left out."""
    values = file[at["json"]][()]
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((BOMB_BYTES,))
    settings.set_fletcher32()
    del file[at["json"]]
    space = h5py.h5s.create_simple(values.shape, (h5py.h5s.UNLIMITED,))
    made = h5py.h5d.create(file.id, at["json"].encode(), h5py.h5t.NATIVE_UINT8, space, settings)
    made.write_direct_chunk((0,), values.tobytes(), filter_mask=1)


def compressed(file, at, _outside):
    _replace(file, at["values"], file[at["values"]][()], compression="gzip")


def shuffled_and_packed(file, at, _outside):
    _replace(file, at["flags"], file[at["flags"]][()], chunks=(2,), scaleoffset=0)


def variable_length_ids(file, at, _outside):
    _replace(file, at["ids"], np.array(["one", "two"], dtype=h5py.string_dtype()))


def variable_length_bytes(file, at, _outside):
    del file[at["json"]]
    file.create_dataset(at["json"], (1,), h5py.vlen_dtype(np.uint8))


def variable_length_attribute(file, _at, _outside):
    del file.attrs["format"]
    file.attrs["format"] = "clipfuse"


def array_attribute(file, _at, _outside):
    file.attrs["version"] = np.zeros(1000, np.int64)


def record_attribute(file, _at, _outside):
    file.attrs["version"] = np.zeros((), [("a", "i8"), ("b", "S3")])


def no_attribute(file, _at, _outside):
    del file.attrs["format"]


def references(file, at, _outside):
    _replace(file, at["ids"], np.array([file[at["values"]].ref] * 4, dtype=h5py.ref_dtype))


def region_references(file, at, _outside):
    _replace(file, at["ids"], np.array([file[at["values"]].regionref[:]] * 4, dtype=h5py.regionref_dtype))


def record_type(file, at, _outside):
    _replace(file, at["values"], np.zeros(file[at["values"]].shape, [("re", "f2"), ("im", "f2")]))


def enumeration(file, at, _outside):
    _replace(file, at["flags"], file[at["flags"]][()], dtype=h5py.enum_dtype({"no": 0, "yes": 2**40}, "i8"))


def opaque_type(file, at, _outside):
    _replace(file, at["flags"], np.zeros(file[at["flags"]].shape, "V1"))


def wide_floats(file, at, _outside):
    _replace(file, at["values"], file[at["values"]][()].astype("f8"))


def other_byte_order(file, at, _outside):
    _replace(file, at["digests"], file[at["digests"]][()].astype(">i2"))


def group(file, at, _outside):
    del file[at["flags"]]
    file.create_group(at["flags"])


def null_space(file, at, _outside):
    del file[at["flags"]]
    file[at["flags"]] = h5py.Empty("uint8")


def named_type(file, at, _outside):
    del file[at["flags"]]
    file[at["flags"]] = np.dtype("uint8")


def a_row_less(file, at, _outside):
    _replace(file, at["flags"], file[at["flags"]][1:])


def deep_json(file, at, _outside):
    _replace(file, at["json"], np.frombuffer(b"[" * 100_000, np.uint8))


def odd_json(file, at, _outside):
    _replace(file, at["json"], np.frombuffer(b'[["x", 1, 2]]', np.uint8))


def twice_the_same_id(file, at, _outside):
    ids, ends = file[at["ids"]][()], file["id_offsets"][()]
    ids[int(ends[1]) : int(ends[2])] = ids[: int(ends[1])]
    file[at["ids"]][...] = ids


def offsets_beyond_the_end(file, _at, _outside):
    file["id_offsets"][1:] = 2**63


def nothing_at_all(*_):
    pass


def only_a_seal(*_):
    pass


def harmless(file, _at, _outside):
    file.attrs["more"] = 1


CASES = {
    make.__name__: make
    for make in (
        nothing_at_all,
        only_a_seal,
        external_storage,
        virtual,
        soft_link,
        link_in_a_circle,
        external_link,
        the_root_in_place_of_a_dataset,
        two_petabytes,
        huge_json,
        bomb_in_a_chunk,
        chunk_that_is_not_there,
        chunk_shorter_than_it_says,
        compressed,
        shuffled_and_packed,
        variable_length_ids,
        variable_length_bytes,
        variable_length_attribute,
        array_attribute,
        record_attribute,
        no_attribute,
        references,
        region_references,
        record_type,
        enumeration,
        opaque_type,
        wide_floats,
        other_byte_order,
        group,
        null_space,
        named_type,
        a_row_less,
        deep_json,
        odd_json,
        twice_the_same_id,
        offsets_beyond_the_end,
        harmless,
    )
}


def forged(data, kind, case, outside):
    """The bytes of a sealed file (kind "shard" or "samples") after ``case``, sealed again."""
    if case == "nothing_at_all":
        return b""
    if case == "only_a_seal":
        return hashlib.sha256(b"").digest()
    memory = io.BytesIO(data[:-SEAL_BYTES])
    with h5py.File(memory, "r+") as file:
        CASES[case](file, DATASETS[kind], outside)
    return sealed(memory.getvalue())


def sealed(image):
    """An image of an HDF5 file with its SHA-256 at its end."""
    return image + hashlib.sha256(image).digest()
