from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from clipfuse_cache.atomic import remove_stale_temporaries, write_bytes, write_json
from clipfuse_cache.errors import CacheError, DiskFull
from clipfuse_cache.faults import armed

FULL = """
import resource, sys
from pathlib import Path
from clipfuse_cache import DiskFull
from clipfuse_cache.atomic import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_bytes(Path(sys.argv[1]), bytes(300_000))
except DiskFull as error:
    print(error)
"""

KILLED = """
import sys
from pathlib import Path
from clipfuse_cache.atomic import write_bytes
from clipfuse_cache.faults import armed
with armed("sync:file=kill"):
    write_bytes(Path(sys.argv[1]), bytes(1000))
"""


def python(code, *args):
    command = [sys.executable, "-B", "-c", code, *map(str, args)]  # -B: what is killed or full writes no modules
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_writes_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for data in (b"first", b"", bytes(range(256)) * 5000):
        write_bytes(path, data)
        assert path.read_bytes() == data
    write_json(path, {"é": [1, None]})
    assert path.read_text(encoding="utf-8") == '{\n "é": [\n  1,\n  null\n ]\n}\n'
    assert [path.name for path in path.parent.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    result = python(FULL, path)
    assert f"no space left to write {path} (300,000 bytes)" in result.stdout, result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_an_interrupt_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["file/below", "x" * 300], ids=["below a file", "long name"])
def test_where_nothing_can_be_written_it_is_a_cache_error(tmp_path, name):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(CacheError, match="can't write") as caught:
        write_bytes(tmp_path / name, b"new")
    assert not isinstance(caught.value, DiskFull)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_cache_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CacheError, match=r"can't write .*Permission"):
            write_bytes(tmp_path / "file", b"new")
    finally:
        tmp_path.chmod(0o700)


def test_leftovers_of_a_dead_writer_are_removed_and_other_files_stay(tmp_path):
    result = python(KILLED, tmp_path / "file")
    assert result.returncode == -9
    (leftover,) = tmp_path.iterdir()
    assert leftover.stat().st_size == 1000
    # after a restart in a container another process, perhaps this one, has the dead writer's number
    for name in (".file.tmp", "file.tmp", ".config", f".file.{os.getpid()}.tmp", "file"):
        (tmp_path / name).write_bytes(b"mine")
    remove_stale_temporaries(tmp_path)
    assert not leftover.exists()
    assert len(list(tmp_path.iterdir())) == 5
    remove_stale_temporaries(tmp_path / "nowhere")


@contextmanager
def standing_at(point, folder):
    """A thread that writes folder/file and stands still at ``point`` until the end of the block."""
    stopped = folder.with_name("stopped")
    with armed(f"{point}:file#1=stop", stopped):
        thread = threading.Thread(target=write_bytes, args=(folder / "file", b"data"))
        thread.start()
        while not stopped.exists():
            assert thread.is_alive()
        yield
        stopped.unlink()
        thread.join()


def test_the_temporary_of_a_writer_at_work_stays(tmp_path):
    folder = tmp_path / "folder"
    with standing_at("sync", folder):
        remove_stale_temporaries(folder)
        assert len(list(folder.iterdir())) == 1
    assert (folder / "file").read_bytes() == b"data"
    assert [entry.name for entry in folder.iterdir()] == ["file"]


def test_a_temporary_that_was_taken_for_a_leftover_before_it_was_locked_is_made_again(tmp_path):
    folder = tmp_path / "folder"
    with standing_at("lock", folder):
        remove_stale_temporaries(folder)
        assert not list(folder.iterdir())
    assert (folder / "file").read_bytes() == b"data"
    assert [entry.name for entry in folder.iterdir()] == ["file"]
