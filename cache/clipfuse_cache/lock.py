"""Taking turns in a folder, between processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold ``folder``'s lock, after waiting for it; it ends with the process at the latest. The folder is made.

    Any number of processes hold it ``shared`` at once, or one holds it alone. Not to be taken twice by one thread.
    Where the file system has no locks on folders (NFS, Windows) there is no turn-taking: what is written under it
    stays whole all the same, because every file is, and what got mixed up is noticed by those who read it.
    """
    descriptor = -1
    with suppress(OSError, ImportError):  # a folder that can't be made is the writing's to report
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor >= 0:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may still hold the descriptor
            os.close(descriptor)
