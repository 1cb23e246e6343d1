"""Hostile HDF5 files with a right seal and a manifest that is right for them, read under a limit of memory."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import replace

import pytest
from hostile_hdf5 import CASES, forged

from clipfuse_cache import CacheCorrupt
from clipfuse_cache.manifest import read_manifest, write_manifest
from clipfuse_cache.samples import write_samples

LIMITS = {"memory": 128 << 20, "processor": 200}
HOSTILE = [case for case in CASES if case != "harmless"]
FILES = ("shard", "shard of an unfinished table", "samples")


@pytest.fixture
def forge(toy, tmp_path):
    """``forge(file, case)`` -> what to read it by: the arguments of the job "read_hostile"."""
    (tmp_path / "outside").mkdir()
    os.mkfifo(tmp_path / "outside" / "secret")  # who opens it waits for ever

    def make(file, case):
        folder, texts = tmp_path / "cache", toy.inputs(8)
        if file == "samples":
            path = folder / "samples.h5"
            write_samples(path, toy.samples(texts))
        else:
            toy.extract(folder, texts, stop_after=1 if "unfinished" in file else None)
            path = folder / "shard-000000.h5"
        data = forged(path.read_bytes(), file.split()[0], case, tmp_path / "outside")
        path.write_bytes(data)
        manifest = read_manifest(folder)
        if manifest is not None:
            entry = replace(manifest.shards[0], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            write_manifest(folder, replace(manifest, shards=(entry, *manifest.shards[1:])))
        return str(folder), file

    return make


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("file", FILES)
def test_it_is_refused(nursery, forge, figures, file, case):
    outcome = nursery.run("read_hostile", *forge(file, case), **LIMITS)
    if file == "shard of an unfinished table":
        assert outcome.ended_well() == [0, 1]  # made again
    else:
        assert outcome.error == CacheCorrupt.__name__ and not outcome.hung, outcome
        assert f"{'samples' if file == 'samples' else 'shard-000000'}.h5: " in outcome.message
        assert "clipfuse extract" in outcome.message
    if case == HOSTILE[-1]:
        figures("h. hostile HDF5", f"{len(HOSTILE)} cases as {file}")


@pytest.mark.parametrize("file", FILES)
def test_a_forged_file_that_is_otherwise_right_would_be_read(nursery, forge, file):
    """The forging itself is not what is refused above."""
    assert nursery.run("read_hostile", *forge(file, "harmless"), **LIMITS).ended_well() in ("read", [1])


@pytest.mark.parametrize("file", ["shard", "samples"])
def test_damage_under_a_right_seal_is_no_other_error(nursery, amount, figures, tmp_path, file):
    """Not what a disk does: only who wants to do harm seals a damaged file. Its values may be wrong then, and HDF5
    itself can crash over it (how often is counted, it differs with its versions); what is looked for are hangs, memory
    and errors that are not the documented ones."""
    total, crashes, start, progress = amount.count(60, 3000), 0, 0, tmp_path / "progress"
    while start < total:
        outcome = nursery.run("damage_sealed_file", tmp_path / str(start), file, [start, total], progress, **LIMITS)
        start = total
        if outcome.code < 0:
            assert outcome.code == -signal.SIGSEGV and not outcome.hung, outcome
            crashes, start = crashes + 1, int(progress.read_text()) + 1
        else:
            outcome.ended_well()
    assert crashes < total / 10
    figures("h. hostile HDF5", f"{total} times damage under a right seal ({file}): HDF5 crashed {crashes} times")
