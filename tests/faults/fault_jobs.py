"""What the children of the nursery do. Everything that they need is imported here, once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import clipfuse.encoders
import clipfuse_cli.cache
import clipfuse_cli.console
import clipfuse_cli.extract
import clipfuse_cli.main
from clipfuse.data import load_dataset  # noqa: F401
from clipfuse.data.ledger import write_ledger
from clipfuse.data.pictures import decode_picture
from clipfuse.extract import ExtractOptions
from clipfuse.extract import extract as run_extract
from clipfuse.machine import library_versions
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse_cache import FeatureCache, hdf5

ROWS = 20


def _warm_up():
    """What libraries do when they are first used, so that not every child does it again. Starts no thread."""
    decode_picture(small_png(0))
    Image.init()
    library_versions()
    for encoder in FakeFactory(modalities=("text",)).load("cpu", ["text"]):
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
    options = ExtractOptions(shard_rows=8, batch_size=3, workers=2)
    report = run_extract([factory], fake_dataset(images, captions), cache, options)
    write_ledger(cache.ledger, report.ledger)


def command(folder, *arguments):
    """``clipfuse ARGUMENTS`` in ``folder``, with a fake in place of every encoder."""
    clipfuse.encoders.find_encoder = lambda *_, **__: FakeFactory(dim=16, batch_effect=0.1)
    os.chdir(folder)
    sys.argv = ["clipfuse", *arguments]
    clipfuse_cli.main.main()
