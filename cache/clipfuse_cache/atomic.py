"""Files that are complete or absent; and lines that are added to one."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipfuse_cache import faults
from clipfuse_cache.errors import CacheError, DiskFull

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_bytes(path: Path, data: bytes, *, replace: bool = True) -> bool:
    """Write ``data`` to ``path`` so that at any moment the old file or the new one is there, whole.

    The bytes go to a temporary name in the same folder, are flushed to disk, and are renamed. Without ``replace`` a
    file that is there already stays.

    Returns:
        Whether it was written: False where there was one and ``replace`` is off.

    Raises:
        DiskFull: no space (or a size limit); the temporary file is removed, the old one is untouched.
        CacheError: the operating system refused for another reason.
    """
    with temporary_beside(path) as temporary:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            faults.point(f"temporary:{path.name}")
            descriptor = _open_locked(temporary, path.name)
            try:
                view = memoryview(data)
                _write_all(descriptor, view[: len(data) // 2])
                faults.point(f"half:{path.name}")
                _write_all(descriptor, view[len(data) // 2 :])
                faults.point(f"sync:{path.name}")
                os.fsync(descriptor)
                faults.point(f"rename:{path.name}")
                written = _put(temporary, path, replace=replace)
                faults.point(f"renamed:{path.name}")
            finally:
                os.close(descriptor)
            faults.point(f"folder:{path.name}")
            _sync_folder(path.parent)
        except OSError as error:
            raise _not_written(path, data, error) from error
    return written


def append_line(path: Path, line: str) -> None:
    """Add a line at the end of ``path`` and flush it to disk, in time that does not grow with the file.

    A kill in the middle leaves a part of the line, which the next one does not join: a reader passes it over. Hold a
    lock: two at once would mix.

    Raises:
        DiskFull, CacheError: as :func:`write_bytes` does.
    """
    data = f"{line}\n".encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        faults.point(f"append:{path.name}")
        with path.open("a+b", buffering=0) as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                data = b"\n" + data
            _write_all(file.fileno(), memoryview(data)[: len(data) // 2])
            faults.point(f"half:{path.name}")
            _write_all(file.fileno(), memoryview(data)[len(data) // 2 :])
            faults.point(f"sync:{path.name}")
            os.fsync(file.fileno())
    except OSError as error:
        raise _not_written(path, data, error) from error


def _not_written(path: Path, data: bytes, error: OSError) -> CacheError:
    if error.errno in NO_SPACE:
        return DiskFull(
            f"no space left to write {path} ({len(data):,} bytes)",
            "Free some space and run the same command again; what was complete is kept",
        )
    return CacheError(f"can't write {path}: {error.strerror or error}")


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name in ``path``'s folder for what is to be renamed to it; a file of that name is removed in the end."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: Path, value: Any, *, replace: bool = True) -> bool:
    """``value`` as indented JSON (UTF-8), atomically. Returns and raises as :func:`write_bytes` does."""
    return write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), replace=replace)


def remove_stale_temporaries(folder: Path) -> None:
    """Remove temporary files of :func:`write_bytes` in ``folder`` whose writer is no longer alive."""
    for temporary in folder.glob(f".*.{'[0-9a-f]' * 16}.tmp"):
        with suppress(OSError):  # BlockingIOError: its writer is at work
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                _lock(descriptor, wait=False)
                temporary.unlink()
            finally:
                os.close(descriptor)


def _open_locked(temporary: Path, name: str) -> int:
    """A new file with a lock on it, by which others see that its writer is alive."""
    while True:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            faults.point(f"lock:{name}")
            with suppress(OSError):  # a file system without locks: leftovers stay there
                _lock(descriptor, wait=True)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process took it for a leftover before the lock was there


def _lock(descriptor: int, *, wait: bool) -> None:
    # a lock ends with the process that holds it; process ids come again, in containers with every start
    import fcntl  # not on Windows, where features can still be read

    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]


def _put(temporary: Path, path: Path, *, replace: bool) -> bool:
    if not replace:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # no hard links on this file system: the folder's lock has to do
            pass
        else:
            return True
    temporary.replace(path)
    return True


def _sync_folder(folder: Path) -> None:
    # the rename itself is durable only once its folder is
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
