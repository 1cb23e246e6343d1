"""What the exit code of a command says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The codes; their meaning stands in ``clipfuse --help`` and in docs/command-line.md."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    BAD_ROWS = 3
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """In a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done; bad rows, if any, are named on stderr",
    ExitCode.ERROR: "an error, or cache verify found damage",
    ExitCode.USAGE: "wrong usage or settings",
    ExitCode.BAD_ROWS: "bad rows, with --strict",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}
