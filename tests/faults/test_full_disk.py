"""A full disk at any size: one clean error, no temporary file, and the next run ends with the same bytes."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from nursery import Nursery

FIX = "Free some space and run the same command again; what was complete is kept"


def check_full(outcome, root, whole):
    """It ended with DiskFull, left no temporary file and can be gone on with."""
    assert outcome.error == "DiskFull" and outcome.message.startswith("no space left to write "), outcome
    assert outcome.message.endswith(FIX)
    assert not list(root.rglob("*.tmp"))
    whole.check_state(root)
    whole.check_resume(root)


def test_no_file_may_be_larger_than(nursery, whole, amount, figures, tmp_path):
    """RLIMIT_FSIZE: just short of every file's size, none at all, one byte, and sizes between."""
    largest = max(map(len, whole.files.values()))
    edges = {0, 1, *(len(data) - 1 for data in whole.files.values() if data)}  # a lock is empty
    sizes = sorted({*edges, *range(0, largest, amount.count(largest, 256))})
    chosen = [size for size in amount.some(sizes, 5) if size < largest]
    for size in chosen:
        root = tmp_path / str(size)
        check_full(nursery.run("extract", root, file_size=size), root, whole)
    root = tmp_path / "enough"
    nursery.run("extract", root, file_size=largest).ended_well()
    figures("b. full disk", f"{len(chosen)} sizes of files up to {largest:,} bytes")


@pytest.fixture(scope="session")
def disk_steps(steps):
    """Those at which a file is written."""
    return [step for step in steps if ":" in step]


def test_at_each_named_step(nursery, whole, disk_steps, amount, figures, tmp_path):
    chosen = amount.some(disk_steps, 5)
    for number, step in enumerate(chosen):
        root = tmp_path / str(number)
        check_full(nursery.run("extract", root, fault=f"{step}=nospace"), root, whole)
    figures("b. full disk", f"{len(chosen)} of {len(disk_steps)} named steps")


def test_another_error_of_the_disk(nursery, whole, disk_steps, amount, tmp_path):
    for number, step in enumerate(amount.some(disk_steps, 3)):
        root = tmp_path / str(number)
        outcome = nursery.run("extract", root, fault=f"{step}=error")
        assert outcome.error == "CacheError" and "Input/output error" in outcome.message
        assert not list(root.rglob("*.tmp"))
        whole.check_state(root)
        whole.check_resume(root)


def test_a_small_disk(whole, amount, figures, tmp_path):
    """A tmpfs with so much room, where one can be had: from none at all to enough."""
    if not amount.everything:
        pytest.skip("with --faults only: it needs a nursery of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f'mount -t tmpfs -o size=4m tmpfs {disk} && exec "$@"'
    inside = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command, "sh")
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("no tmpfs of one's own is to be had here (unshare --user --mount)")
    nursery = Nursery(inside)
    try:
        page = 4096
        needed = sum(-(-len(data) // page) + 1 for data in whole.files.values())
        enough = nursery.run("extract_on_a_small_disk", disk, 2 * needed * page).ended_well()["digest"]
        rooms = range(0, needed * page, page)
        full = 0
        for room in rooms:
            found = nursery.run("extract_on_a_small_disk", disk, room).ended_well()
            full += found["full"]
            assert found["error"] in ("", f"DiskFull: {FIX}"), found
            assert found["temporaries"] == [] and found["digest"] == enough
        assert full
        figures("b. full disk", f"{full} of {len(rooms)} sizes of a tmpfs were too small, 0 bytes differ")
    finally:
        nursery.close()
