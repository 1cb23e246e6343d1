"""What every command does alike: help, exit codes, --quiet, --json, colours, completion."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main

from clipfuse_cli.exit_codes import ExitCode
from clipfuse_cli.main import app

CLIPFUSE = Path(sys.executable).with_name("clipfuse")
PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
ROWS = "filename,caption,labels\na.png,a dog,dog\nb.png,a cat,cat\n"
ROOT = typer.main.get_command(app)


def commands(command=ROOT, name="clipfuse"):
    """Name -> command, for each that does something."""
    inner = getattr(command, "commands", {})
    found = {name: command} if not inner or command.invoke_without_command else {}
    for word, one in inner.items():
        found |= commands(one, f"{name} {word}")
    return found


COMMANDS = {name: command for name, command in commands().items() if name != "clipfuse"}
NOTHING_TO_PRINT = {
    "clipfuse predict",
    "clipfuse report",
    "clipfuse serve",
    "clipfuse export",
    "clipfuse encoders convert",
    "clipfuse cache export",
    "clipfuse cache import",
    "clipfuse cache drop",
}
"""They write a file, remove one, or serve."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_the_options_of_all(name):
    command = COMMANDS[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert f"Example: {name}" in command.help
    assert {"--quiet", "-q"} <= options
    assert ("--json" in options) != (name in NOTHING_TO_PRINT)
    assert all(parameter.help for parameter in command.params if parameter.name not in ("help", "table"))


def test_help_is_grouped_by_task(cli):
    said = cli("--help").stdout
    panels = re.findall(r"^╭─ ([\w ,:]+) ─", said, re.MULTILINE)
    assert panels == [
        "Options", "Start", "Stage one: features", "Stage two: training", "Compare and judge", "Use a model",
    ]  # fmt: skip
    assert "clipfuse train-head --fusion sum" in said


def test_the_version(cli):
    assert cli("--version").stdout == version("clipfuse") + "\n"


class TestExitCodes:
    def test_help_and_the_page_say_them(self, cli):
        rows = re.findall(r"^\| (\d+) \| (.+?) \|", PAGE, re.MULTILINE)
        assert rows == [(str(code.value), code.meaning) for code in ExitCode]
        said = cli("--help").stdout
        assert all(f"{code.value:3} {code.meaning}" in said for code in ExitCode)

    def test_done_error_and_usage(self, cli):
        assert cli("recipes").exit_code == ExitCode.DONE
        assert cli("bench").exit_code == ExitCode.ERROR
        assert cli("extract").exit_code == ExitCode.USAGE
        assert cli("extract", "--no-such-option").exit_code == ExitCode.USAGE
        assert cli("no-such-command").exit_code == ExitCode.USAGE

    def test_bad_rows(self, cli, tmp_path):
        (tmp_path / "photos.csv").write_text(ROWS)
        (tmp_path / "photos").mkdir()
        bad = ["init", "photos.csv", "--images", "photos", "--force"]
        assert cli(*bad).exit_code == ExitCode.DONE
        assert cli(*bad, "--strict").exit_code == ExitCode.BAD_ROWS
        assert cli("extract", "--dry-run", "--strict").exit_code == ExitCode.BAD_ROWS

    @pytest.mark.parametrize(
        ("sent", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
    )
    def test_signals(self, cli, monkeypatch, sent, code):
        from clipfuse import project

        monkeypatch.setattr(project, "load_project", lambda _: os.kill(os.getpid(), sent) or time.sleep(10))
        result = cli("bench", "--quiet")
        assert result.exit_code == code and result.stderr.startswith("clipfuse: ")


class TestQuiet:
    def test_notes_are_left_out_before_and_after_the_command(self, cli):
        assert cli("recipes").stderr
        for arguments in (["recipes", "--quiet"], ["recipes", "-q"], ["--quiet", "recipes"], ["-q", "recipes", "-q"]):
            result = cli(*arguments)
            assert result.exit_code == 0 and result.stderr == "" and "s2-sum" in result.stdout
        assert cli("recipes").stderr  # it ended with the command

    def test_errors_and_bad_rows_stay(self, cli, tmp_path):
        assert cli("bench", "-q").stderr.startswith("clipfuse: error: there is no complete run")
        (tmp_path / "photos.csv").write_text(ROWS)
        (tmp_path / "photos").mkdir()
        said = cli("init", "photos.csv", "--images", "photos", "-q").stderr
        assert said.startswith("not usable: 2 pictures") and "wrote" not in said


class TestJson:
    def test_dry_run_and_extract_agree(self, cli, tmp_path):
        (tmp_path / "words.csv").write_text("id,caption,labels\n1,a dog,dog\n2,a cat,cat\n3,,cat\n")
        before = set(tmp_path.rglob("*"))
        dry = cli("extract", "words.csv", "--dry-run", "--json")
        assert dry.exit_code == 0 and set(tmp_path.rglob("*")) == before
        told = json.loads(dry.stdout)
        assert told["dry_run"] and told["cache"] == "features/words" and len(told["unusable"]) == 1
        assert {(one["there"], one["to_encode"], one["absent"], one["shards"]) for one in told["tables"]} == {
            (0, 2, 1, 1)
        }
        shown = cli("extract", "words.csv", "--dry-run")
        assert "mini/text/projected" in shown.stdout and "nothing is written" in shown.stderr
        done = json.loads(cli("extract", "words.csv", "--json").stdout)
        assert [one["name"] for one in done["tables"]] == [one["name"] for one in told["tables"]]
        assert done["unusable"] == told["unusable"]
        again = json.loads(cli("extract", "words.csv", "--dry-run", "--json").stdout)
        assert {(one["there"], one["to_encode"]) for one in again["tables"]} == {(3, 0)}

    def test_train_head_prints_what_evaluate_prints(self, project, tmp_path):
        options = ("--head", "knn", "--runs", tmp_path)
        result = project.attempt("train-head", *options, "--json")
        assert result.exit_code == 0, result.stderr
        (run,) = json.loads(result.stdout)
        path = run.pop("path")
        assert run == json.loads(project.attempt("evaluate", "--run", path, "--json").stdout)

    def test_merge(self, cli, tmp_path):
        (tmp_path / "words.csv").write_text("id,caption,labels\n1,a dog,dog\n2,a cat,cat\n")
        worker = ("extract", "words.csv", "--worker-index", "0", "--worker-count", "2")
        refused = cli(*worker, "--json")
        assert refused.exit_code == ExitCode.USAGE and "after the merge" in refused.stderr
        assert cli(*worker, "--quiet").stderr == ""
        first = json.loads(cli("cache", "merge", "features/words", "--json").stdout)[0]
        assert (first["name"], first["rows"], first["failed"], first["shards"]) == ("mini/text/pooled", 2, 0, 1)


def on_a_terminal(*arguments, **environment):
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    process = subprocess.Popen(
        [CLIPFUSE, *arguments], stdout=theirs, stderr=theirs, env={**base, "TERM": "xterm-256color", **environment}
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    process.wait()
    return said


def test_no_color_is_honoured():
    colour = re.compile(rb"\x1b\[[0-9;]*3[0-7]")
    assert colour.search(on_a_terminal("no-such-command"))
    assert not colour.search(on_a_terminal("no-such-command", NO_COLOR="1"))


class TestCompletion:
    def complete(self, words, place):
        environment = {**os.environ, "_CLIPFUSE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
        done = subprocess.run([CLIPFUSE], env=environment, capture_output=True, text=True, check=False)
        return done.stdout.split()

    def test_commands_and_options(self):
        assert self.complete("clipfuse tr", "1") == ["train-head"]
        assert self.complete("clipfuse extract --dry", "2") == ["--dry-run"]

    def test_it_can_be_installed(self, tmp_path):
        environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        command = [CLIPFUSE, "--install-completion", "bash"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (script,) = tmp_path.rglob("*.sh")
        assert "_CLIPFUSE_COMPLETE=complete_bash" in script.read_text()
