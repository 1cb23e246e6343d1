from __future__ import annotations

import errno
import os
import signal
import threading

import pytest

from clipfuse_cache import CacheError
from clipfuse_cache.atomic import write_bytes
from clipfuse_cache.errors import DiskFull
from clipfuse_cache.faults import FILE_VARIABLE, VARIABLE, armed, point

POINTS = ("temporary", "lock", "half", "sync", "rename", "renamed", "folder")


def passed(name):
    """What happens at the point: an error's number, or None."""
    try:
        point(name)
    except OSError as error:
        return error.errno
    return None


def test_nothing_happens_without_the_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert passed("rename:plan.json") is None
    monkeypatch.setenv(VARIABLE, "")
    assert passed("rename:plan.json") is None


def test_a_name_a_number_and_the_first_that_fits():
    with armed("a:*=error;b:*#2=nospace;*#4=error"):
        assert [passed(name) for name in ("a:x", "b:x", "b:y", "c")] == [errno.EIO, None, errno.ENOSPC, errno.EIO]
        assert [passed(name) for name in ("b:x", "c", "a:y")] == [None, None, errno.EIO]
    assert passed("a:x") is None and VARIABLE not in os.environ


def test_it_counts_anew_every_time_it_is_armed():
    for _ in range(2):
        with armed("a#2=error"):
            assert [passed("a"), passed("a"), passed("a")] == [None, errno.EIO, None]


def test_signals_reach_this_process():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with armed("here=term;there=int"):
            point("here")
            with pytest.raises(KeyboardInterrupt):
                point("there")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_who_stops_says_where_and_waits_until_the_file_is_gone(tmp_path):
    file = tmp_path / "stopped"
    with armed("half:*=stop", file):
        thread = threading.Thread(target=write_bytes, args=(tmp_path / "file", b"new"))
        thread.start()
        while not file.exists():
            assert thread.is_alive()
        assert file.read_text() == "half:file"
        assert not (tmp_path / "file").exists()
        file.unlink()
        thread.join()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_points_of_a_write_in_their_order(tmp_path):
    with armed("*=note", tmp_path / "notes"):
        write_bytes(tmp_path / "file", b"data")
    assert (tmp_path / "notes").read_text().split() == [f"{name}:file" for name in POINTS]


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize(("action", "error"), [("nospace", DiskFull), ("error", CacheError)])
def test_an_error_at_any_point_of_a_write_leaves_one_whole_file_and_no_other(tmp_path, name, action, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with armed(f"{name}:file={action}"), pytest.raises(CacheError) as caught:
        write_bytes(path, b"new!")
    assert type(caught.value) is error and str(path) in str(caught.value)
    assert path.read_bytes() == (b"new!" if name in {"renamed", "folder"} else b"old")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "value",
    ["x", "=kill", "a=explode", "a#=kill", "a#0=kill", "a#x=kill", "a#-1=kill", "a=kill;", "#1=kill", "a#1#2=int"],
)
def test_a_value_that_makes_no_sense_is_said(value):
    with armed(value), pytest.raises(CacheError, match=rf"{VARIABLE} has .*NAME#N=ACTION.* kill, term, int"):
        point("anything")


@pytest.mark.parametrize("action", ["stop", "note"])
def test_stop_and_note_need_their_file(monkeypatch, action):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    with armed(f"a={action}"), pytest.raises(CacheError, match=FILE_VARIABLE):
        point("a")
