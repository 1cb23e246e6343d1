"""The command line inside of this process, and one project that has gone the whole way."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


def run_in(folder: Path, *arguments: Any) -> Any:
    """``clipfuse ARGUMENTS`` in ``folder``; the result has exit_code, stdout and stderr."""
    from typer.testing import CliRunner

    from clipfuse_cli.main import app

    before, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)
    os.chdir(folder)
    try:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        os.chdir(before)
        signal.signal(signal.SIGTERM, handler)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # the user would see a traceback
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def cli(tmp_path):
    """``cli(arguments...)`` in an empty folder."""
    return lambda *arguments: run_in(tmp_path, *arguments)


@dataclass
class Project:
    """A folder in which the commands of README.md were run, and what each of them said."""

    folder: Path
    said: dict[str, Any] = field(default_factory=dict)

    def attempt(self, *arguments: Any) -> Any:
        """A command that may fail."""
        return run_in(self.folder, *arguments)

    def run(self, *arguments: Any, name: str | None = None) -> Any:
        """A command that must succeed."""
        result = run_in(self.folder, *arguments)
        assert result.exit_code == 0, result.stderr
        self.said[name or arguments[0]] = result
        return result

    def files(self) -> set[str]:
        """Everything below the folder."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


QUICK = ("--hidden", "16", "--epochs", "3")
TRAINED = ("image", "text", "concat", "sum", "mixed")


@pytest.fixture(scope="session")
def project(scenes, tmp_path_factory):
    """init, extract, train-head of all kinds, bench. Tests add runs of commands, but change no file."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(scenes.table, folder / "photos.csv")
    shutil.copytree(scenes.images, folder / "photos")
    made = Project(folder)
    made.run("init", "photos.csv", "--images", "photos/")
    made.run("extract")
    made.run("extract", name="extract again")
    for fusion in TRAINED:
        made.run("train-head", "--fusion", fusion, *QUICK, name=f"train {fusion}")
    made.run("train-head", "--head", "knn", name="train knn")
    made.run("bench")
    made.run("bench", "--json", name="bench json")
    return made
