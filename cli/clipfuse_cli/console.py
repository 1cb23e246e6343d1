"""What goes to stderr: notes, warnings, progress bars, the summary of bad rows. Data goes to stdout."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clipfuse_cli.exit_codes import ExitCode
from clipfuse_cli.quiet import is_quiet

if TYPE_CHECKING:
    from rich.console import Console

    from clipfuse.data.dataset import LedgerEntry
    from clipfuse.inputs import Progress

_SHOWN = 5


def note(text: str) -> None:
    """One line on stderr, which --quiet leaves out."""
    if not is_quiet():
        warn(text)


def warn(text: str) -> None:
    """One line on stderr about what may be wrong: --quiet does not leave it out."""
    print(text, file=sys.stderr)


def output() -> Console:
    """A console on stdout: as wide as the terminal, wide enough for any table in a pipe."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress callback that draws bars with rate and time left on a terminal; nothing in a pipe or with --quiet."""
    if is_quiet() or not sys.stderr.isatty():
        from clipfuse.inputs import no_progress

        yield no_progress
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)  # type: ignore[arg-type]
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done)  # type: ignore[arg-type]

        yield show


def report_ledger(ledger: Sequence[LedgerEntry], path: Path | None, *, strict: bool) -> None:
    """Say on stderr what was wrong with which rows. With ``strict``, exit with 3 if there was anything."""
    if not ledger:
        return
    parts = Counter(entry.part for entry in ledger)
    words = {
        "row": "rows left out",
        "image": "pictures",
        "text": "captions",
        "labels": "labels",
        "numbers": "rows with cells that are no numbers",
    }
    counts = ", ".join(f"{count} {words[part]}" for part, count in parts.items())
    where = f", all in {path}" if path is not None else ""
    warn(f"not usable: {counts}{where}")
    for entry in ledger[:_SHOWN]:
        warn(f"  {entry}")
    if len(ledger) > _SHOWN:
        warn(f"  … and {len(ledger) - _SHOWN} more")
    if strict:
        raise typer.Exit(ExitCode.BAD_ROWS)
