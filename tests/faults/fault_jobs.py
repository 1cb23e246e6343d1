"""What the children of the nursery do. Everything that they need is imported here, once."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import rich.table  # noqa: F401
import toy
from damage import damaged, lengths
from hostile_hdf5 import sealed
from PIL import Image

import clipfuse.encoders
import clipfuse.project  # what commands import when they run
import clipfuse_cli.main
from clipfuse.data.ledger import write_ledger
from clipfuse.data.pictures import decode_picture
from clipfuse.errors import DiskFull
from clipfuse.extract import ExtractOptions
from clipfuse.extract import extract as run_extract
from clipfuse.machine import library_versions
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, load_encoders, small_png
from clipfuse_cache import CacheCorrupt, FeatureCache, FeatureTable, hdf5
from clipfuse_cache.hdf5 import SEAL_BYTES
from clipfuse_cache.manifest import read_manifest, read_plan
from clipfuse_cache.samples import read_samples, write_samples
from clipfuse_cache.shard import encode_shard, open_shard
from clipfuse_cache.times import TIMES

ROWS = 20


def _warm_up():
    """What libraries do when they are first used, so that not every child does it again. Starts no thread."""
    decode_picture(small_png(0))
    Image.init()
    library_versions()
    for encoder in load_encoders(FakeFactory(modalities=("text",))):
        encoder.encode(encoder.collate([encoder.prepare("a caption")]))
    hdf5.build({"a": 1}, {"b": np.zeros(1)})


_warm_up()


def extract(root):
    """Stage one as the command does it: 20 rows, one broken picture, one missing caption, two tables of three shards,
    and the ledger."""
    images = MemoryImages({f"p{row}": small_png(row) for row in range(ROWS)})
    images.files["p9"] = b"no picture"
    captions = {name: None if name == "p4" else f"caption of {name}" for name in images.files}
    cache = FeatureCache(Path(root))
    factory = FakeFactory(dim=16, batch_effect=0.1)
    options = ExtractOptions(shard_rows=8, batch_size=3, threads=2)
    report = run_extract([factory], fake_dataset(images, captions), cache, options)
    write_ledger(cache.ledger, report.ledger)


def extract_on_a_small_disk(disk, room):
    """:func:`extract` on a disk with ``room`` bytes left, and once more when there is enough."""
    root, ballast = Path(disk, "cache"), Path(disk, "ballast")
    shutil.rmtree(root, ignore_errors=True)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - room)
    error = ""
    try:
        extract(root)
    except DiskFull as found:
        error = f"DiskFull: {found.fix}"
    temporaries = [str(path) for path in root.rglob("*.tmp")]
    ballast.unlink()
    extract(root)
    return {"full": bool(error), "error": error, "temporaries": temporaries, "digest": digest(root)}


def digest(root):
    """SHA-256 over the names and contents of everything below ``root``, but for how long it took."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != TIMES:
            total.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


class _Target:
    """A file of a small table or cache in ``folder``, and how to read it: ``read()`` gives its value or raises."""

    def __init__(self, folder, file):
        self.texts = toy.inputs(12)
        unfinished = file in ("plan.json", "shard of an unfinished table")
        if file == "samples.h5":
            self.path = folder / file
            write_samples(self.path, toy.samples(self.texts))
            self.read = lambda: toy.comparable(read_samples(self.path))
        else:
            toy.extract(folder, self.texts, stop_after=2 if unfinished else None)
            self.path = folder / (file if file.endswith("json") else "shard-000001.h5")
            self.read = {
                "shard": lambda: [part.tolist() for part in FeatureTable.open(folder).take(["row-4", "row-5"])],
                "shard of an unfinished table": lambda: toy.open_writer(folder, self.texts).missing(),
                "manifest.json": lambda: read_manifest(folder),
                "plan.json": lambda: read_plan(folder),
            }[file]
        self.right, self.made_again = self.read(), file == "shard of an unfinished table"

    def refuses(self, data):
        """False where its value is still the right one. Any other value or error comes out of here."""
        self.path.write_bytes(data)
        try:
            found = self.read()
        except CacheCorrupt as error:
            assert str(self.path) in str(error) and "clipfuse extract" in error.fix, str(error)
            return True
        if self.made_again and found == [1, *self.right]:
            return True
        assert found == self.right
        return False


def damage_file(folder, file, seeds):
    """Damage ``file`` with each seed of the range: how often it was refused, how often it was still the same."""
    target = _Target(Path(folder), file)
    data = target.path.read_bytes()
    refused = sum(target.refuses(damaged(data, seed)) for seed in range(*seeds))
    return {"refused": refused, "the same": seeds[1] - seeds[0] - refused}


def cut_file(folder, file):
    """Cut ``file`` short at a length of every class: how many there were."""
    target = _Target(Path(folder), file)
    data = target.path.read_bytes()
    for length in lengths(data):
        # the last line break of JSON may go
        assert target.refuses(data[:length]) or (length == len(data) - 1 and file.endswith(".json"))
    return len(lengths(data))


def read_hostile(folder, file):
    """Read everything of a shard or samples; for an unfinished table, the shards that it would make."""
    if file == "samples":
        read_samples(Path(folder, "samples.h5"))
    elif file == "shard":
        FeatureTable.open(Path(folder)).take(["row-0"])
    else:
        return toy.open_writer(Path(folder), toy.inputs(8)).missing()
    return "read"


def damage_sealed_file(folder, file, seeds, progress):
    """Damage a file, seal it and read it, with each seed of the range; the one under way stands in ``progress``."""
    folder, texts = Path(folder), toy.inputs(8)
    about, path = toy.description(), folder / "samples.h5"
    write_samples(path, toy.samples(texts))
    shard = encode_shard(toy.make_shard(texts, about), fingerprint="", index=0)
    data = path.read_bytes() if file == "samples" else shard.data
    for seed in range(*seeds):
        Path(progress).write_text(str(seed))
        spoilt = sealed(damaged(data[:-SEAL_BYTES], seed))
        with suppress(CacheCorrupt):
            if file == "samples":
                path.write_bytes(spoilt)
                read_samples(path)
            else:
                with open_shard(spoilt, "shard", fingerprint="", index=0, tokens=1, dim=8, dtype="float16") as reader:
                    reader.whole()


def find_encoders(names):
    """For each name: the error's class, what it says, and the hosts that anybody tried to reach."""
    tried = []

    def refuse(self, address):
        tried.append(address[0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def no_such_host(host, *_, **__):
        tried.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    lookup = socket.getaddrinfo
    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.getaddrinfo = lambda host, *rest, **more: (lookup if host == "127.0.0.1" else no_such_host)(
        host, *rest, **more
    )
    found = []
    for name in names:
        tried.clear()
        try:
            clipfuse.encoders.find_encoder(name)
        except Exception as error:
            found.append((type(error).__name__, str(error), list(tried)))
    return found


def command(folder, *arguments):
    """``clipfuse ARGUMENTS`` in ``folder``, with a fake in place of every encoder."""
    clipfuse.encoders.find_encoder = lambda *_, **__: FakeFactory(dim=16, batch_effect=0.1)
    os.chdir(folder)
    sys.argv = ["clipfuse", *arguments]
    clipfuse_cli.main.main()
