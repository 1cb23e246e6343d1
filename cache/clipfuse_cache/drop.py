"""Removing a feature table."""

from __future__ import annotations

import shutil
from pathlib import Path

from clipfuse_cache.errors import CacheError, CacheMissing
from clipfuse_cache.lock import locked


def drop_table(folder: Path) -> int:
    """Delete the table in ``folder``, finished or not, and return the bytes that were freed.

    The manifest goes first and then the plan: wherever this is killed, nothing is left that looks complete.

    Raises:
        CacheMissing: there is no such folder.
        CacheError: a file can't be deleted.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise CacheMissing(f"{folder} is not a feature table")
    try:
        with locked(folder):  # after a writer's shard, and not in the middle of it; the writer then finds no plan
            freed = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            for name in ("manifest.json", "plan.json"):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder)
    except OSError as error:
        raise CacheError(f"can't delete {error.filename or folder}: {error.strerror or error}") from error
    return freed
