"""Taking turns at a folder, between processes and machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold ``folder``'s lock, after waiting for it; it ends with the process at the latest.

    Any number of processes hold it ``shared`` at once, or one holds it alone. Not to be taken twice by one thread.
    The lock is on an empty file beside the folder, which stays: on NFS a lock on the folder itself would hold for one
    machine only. Where there are no locks at all there is no turn-taking; every file is whole all the same, and what
    two extractions of different rows then mix up is noticed by whoever reads it.
    """
    descriptor = -1
    with suppress(OSError, ImportError):  # a folder that can't be written is the writing's to report
        import fcntl

        folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor >= 0:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may still hold the descriptor
            os.close(descriptor)
