"""What only a process of its own can show: the start, streams, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CLIPFUSE = Path(sys.executable).with_name("clipfuse")
HEAVY = ("torch", "numpy", "pydantic", "h5py", "sklearn", "PIL", "open_clip", "timm", "transformers")


def python(code, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


LISTING = """
import sys
from clipfuse_cli.main import main
sys.argv = ["clipfuse", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code
print("MODULES", code, *sys.modules)
"""


def modules_of(arguments, folder):
    """Exit code and imported modules of a command."""
    found = python(LISTING, *arguments, cwd=folder)
    assert "Traceback" not in found.stderr
    _, code, *modules = found.stdout.splitlines()[-1].split()
    return code, {name for name in HEAVY if name in modules}


def test_help_imports_nothing_heavy(tmp_path):
    assert modules_of(["--help"], tmp_path) == ("0", set())
    assert modules_of(["--version"], tmp_path) == ("0", set())
    code, heavy = modules_of(["train-head", "--help"], tmp_path)
    assert code == "0" and heavy <= {"pydantic"}  # typer's own


def test_looking_imports_no_deep_learning_library(project, tmp_path):
    for arguments in (
        ["encoders", "--json"],
        ["recipes", "--json"],
        ["bench", "--runs", project.folder / "runs"],
        ["cache", "info", "none"],
    ):
        code, heavy = modules_of(arguments, tmp_path)
        assert code == ("1" if "none" in arguments else "0")
        assert not heavy & {"torch", "open_clip", "timm", "transformers", "sklearn"}


def test_help_says_every_command_with_an_example():
    said = subprocess.run([CLIPFUSE, "--help"], capture_output=True, text=True, check=True)
    commands = ("init", "extract", "train-head", "bench", "predict", "evaluate", "demo", "encoders", "recipes", "cache")
    commands += ("report", "doctor", "compare", "tune")
    assert all(f" {command} " in said.stdout for command in commands)
    assert "clipfuse init photos.csv" in said.stdout
    assert said.stderr == ""


def test_the_console_script_from_outside_of_the_repository(project, tmp_path):
    """The real thing, once: data on stdout, the rest on stderr, and no terminal tricks in a pipe."""

    def run(*arguments):
        return subprocess.run([CLIPFUSE, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)

    runs = project.folder / "runs"
    scores = run("evaluate", "--runs", runs, "--json")
    assert (scores.returncode, scores.stderr) == (0, "")
    assert json.loads(scores.stdout)["format"] == "clipfuse-run"
    shown = run("bench", "--runs", runs)
    assert (shown.returncode, shown.stderr) == (0, "") and "\x1b" not in shown.stdout
    refused = run("bench")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "clipfuse: error: there is no complete run in runs. Train one with: clipfuse train-head --fusion sum\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_interruption_ends_extract_at_once_and_it_goes_on(cli, tmp_path):
    lines = "".join(f"{n},a picture of thing {n} beside thing {n + 1}\n" for n in range(12))
    (tmp_path / "texts.csv").write_text("id,caption\n" + lines)
    arguments = ["extract", "texts.csv", "--shard-rows", "1", "--threads", "1"]
    stopped = tmp_path / "stopped"
    process = subprocess.Popen(
        [CLIPFUSE, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CLIPFUSE_FAULT": "half:shard-*#3=stop", "CLIPFUSE_FAULT_FILE": str(stopped)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in background
    )
    while not stopped.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stopped.unlink()
    shards = (tmp_path / "features" / "texts" / "tables").glob
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert out == ""
    assert err == "clipfuse: interrupted; what is complete is kept\n"
    kept = {path: path.read_bytes() for path in shards("*/shard-*.h5")}
    assert 0 < len(kept) < 24
    assert not list(shards("*/manifest.json"))
    told = cli("cache", "info")
    assert told.exit_code == 0 and "unfinished: mini-text-" in told.stdout
    again = cli(*arguments)
    assert again.exit_code == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert not [path for path in (tmp_path / "features").rglob("*") if path.name.endswith(".tmp")]
    about = json.loads(cli("cache", "info", "--json").stdout)
    assert about["unfinished"] == [] and {table["valid"] for table in about["tables"]} == {12}


def test_an_interrupted_training_leaves_no_run(project, monkeypatch):
    from clipfuse.training import train_models

    def interrupt(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr(train_models, "fit_members", interrupt)
    before = project.files()
    result = project.attempt("train-head", "--fusion", "image")
    assert result.exit_code == 130
    assert result.stderr == "clipfuse: interrupted; what is complete is kept\n"
    assert project.files() == before
    monkeypatch.setattr(
        train_models, "fit_members", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(10)
    )
    assert project.attempt("train-head", "--fusion", "image").exit_code == 143
    assert project.files() == before
