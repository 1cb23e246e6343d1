"""``--quiet``, which every command has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import typer

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def is_quiet() -> bool:
    """Whether notes and progress are to be left out."""
    return _quiet.get()


@contextmanager
def not_quiet_yet() -> Iterator[None]:
    """While one command runs: what it makes of ``--quiet`` ends with it."""
    token = _quiet.set(False)
    try:
        yield
    finally:
        _quiet.reset(token)


def add_quiet_to(group: Any) -> None:
    """Give ``--quiet`` to a group of commands and to all inside of it."""
    option, groups = _option(), [group]
    while groups:
        command = groups.pop()
        command.params.append(option)
        groups += getattr(command, "commands", {}).values()


def _set(value: bool) -> None:
    if value:
        _quiet.set(True)


def _option() -> Any:
    """An option for a command that typer has made already; only a command of typer's can say how one looks."""
    example = typer.Typer(add_completion=False)

    @example.command()
    def _command(
        quiet: Annotated[
            bool,
            typer.Option(
                "--quiet",
                "-q",
                callback=_set,
                expose_value=False,
                help="No progress and no notes; errors, warnings and bad rows are still told.",
            ),
        ] = False,
    ) -> None: ...

    return next(option for option in typer.main.get_command(example).params if option.name == "quiet")
