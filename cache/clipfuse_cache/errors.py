"""Errors of the feature cache. ``ClipfuseError`` is the root of clipfuse's whole error tree."""

from __future__ import annotations


class ClipfuseError(Exception):
    """Root of every error that clipfuse raises on purpose; the command line prints it as one line.

    Args:
        problem: what is wrong and where (file, row, field), with what was expected.
        fix: what to do or to type, as a sentence; empty where there is nothing to say.
    """

    def __init__(self, problem: str, fix: str = "") -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(f"{problem}. {fix}" if fix else problem)


class CacheError(ClipfuseError):
    """Anything about the feature cache on disk."""


class CacheMissing(CacheError):
    """There is no cache, table or split where one was expected."""


class CacheCorrupt(CacheError):
    """A file of the cache does not hold what its manifest says: changed, cut short or foreign."""


class FingerprintMismatch(CacheError):
    """A table was made by another encoder setting than the one asked for."""


class RowsMissing(CacheError):
    """The table does not hold rows that were asked for."""


class DiskFull(CacheError):
    """The operating system refused to write; what was complete before is still there."""
