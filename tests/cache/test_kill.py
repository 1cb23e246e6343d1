from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipfuse_cache import CacheMissing, FeatureTable
from clipfuse_cache.manifest import read_plan
from clipfuse_cache.shard import decode_shard

ROWS, SHARD_ROWS = 120, 3  # 40 shards


def run_and_kill(folder, after_lines, delay):
    """Run the toy extraction in a process of its own; SIGKILL it after that many lines. Returns what it said."""
    command = [sys.executable, str(Path(__file__).with_name("toy.py")), str(folder), str(ROWS), str(SHARD_ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline().strip() for _ in range(after_lines)]
        time.sleep(delay)
        process.kill()
        said += process.stdout.read().split()
    assert process.returncode in (-signal.SIGKILL, 0)
    return said


@pytest.mark.parametrize("seed", [1, 2])
def test_sigkill_at_random_moments_loses_at_most_the_shard_in_flight(toy, tmp_path, seed):
    texts = toy.inputs(ROWS)
    toy.extract(tmp_path / "whole", texts, shard_rows=SHARD_ROWS)
    rng, folder, announced = random.Random(seed), tmp_path / "killed", set()
    for _ in range(4):
        said = run_and_kill(folder, rng.randint(1, 11), rng.random() * 0.006)
        assert announced.isdisjoint(said)  # no finished shard is made again
        announced.update(word for word in said if word.isdigit())
        on_disk = {path.name for path in folder.glob("shard-*.h5")}
        assert len(on_disk) >= len(announced)
        if read_plan(folder) is not None:
            with pytest.raises(CacheMissing):
                FeatureTable.open(folder)
        about = toy.description()
        for name in on_disk:  # complete or absent
            index = int(name[6:12])
            decode_shard(
                (folder / name).read_bytes(),
                name,
                fingerprint=about.fingerprint,
                index=index,
                tokens=1,
                dim=8,
                dtype="float16",
            )
    assert announced
    toy.extract(folder, texts, shard_rows=SHARD_ROWS)
    assert toy.files(folder) == toy.files(tmp_path / "whole")
