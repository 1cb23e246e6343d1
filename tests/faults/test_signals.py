"""SIGINT, SIGTERM and a closed pipe, through the real command, at named points."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nursery import contents

EXTRACT = ("extract", "texts.csv", "--shard-rows", "6", "--threads", "2")
SIGNALS = {
    signal.SIGINT: (130, "clipfuse: interrupted; what is complete is kept\n"),
    signal.SIGTERM: (143, "clipfuse: terminated; what is complete is kept\n"),
}


@pytest.fixture(scope="module")
def reference(nursery, tmp_path_factory):
    """A folder in which extract ran to its end, its files, and the points that it passed."""
    folder = tmp_path_factory.mktemp("signals") / "whole"
    write_table(folder)
    notes = folder.with_name("notes")
    assert nursery.run("command", folder, *EXTRACT, fault="*=note", file=notes).code == 0
    return folder, contents(folder), tuple(dict.fromkeys(notes.read_text().split()))


def write_table(folder):
    folder.mkdir()
    lines = "".join(f"{row},a picture of thing {row} beside thing {row + 1}\n" for row in range(20))
    (folder / "texts.csv").write_text("id,caption\n" + lines + "20,\n")


def test_a_signal_at_a_named_point(nursery, reference, amount, figures, tmp_path):
    _, whole, points = reference
    chosen = amount.some([(point, number) for point in points for number in SIGNALS], 8)
    for count, (point, number) in enumerate(chosen):
        folder = tmp_path / str(count)
        write_table(folder)
        child = nursery.stop_at(f"{point}#1", "command", folder, *EXTRACT, file=tmp_path / "stopped")
        child.send(number)
        (tmp_path / "stopped").unlink(missing_ok=True)
        outcome = child.wait()
        assert (outcome.code, outcome.stderr) == SIGNALS[number], (point, outcome)
        assert outcome.stdout == ""
        left = {name: data for name, data in contents(folder).items() if not name.endswith("plan.json")}
        assert left.items() <= whole.items(), point
        again = nursery.run("command", folder, *EXTRACT)
        assert again.code == 0 and contents(folder) == whole, (point, again)
    figures("i. signals", f"{len(chosen)} at {len(points)} points, one line and 130 or 143 each, 0 bytes differ")


@pytest.mark.parametrize(
    "arguments",
    [
        EXTRACT,
        ("cache", "info", "features/texts"),
        ("cache", "info", "features/texts", "--json"),
        ("encoders", "--json"),
        ("init", "texts.csv"),
        ("--help",),
        ("bench",),
    ],
    ids=" ".join,
)
def test_nobody_reads_the_output(nursery, reference, figures, tmp_path, arguments):
    folder = tmp_path / "folder"
    shutil.copytree(reference[0], folder)
    outcome = nursery.run("command", folder, *arguments, stdout="closed")
    assert outcome.code in (0, 1) and not outcome.hung, outcome
    assert "BrokenPipe" not in outcome.stderr and "Traceback" not in outcome.stderr, outcome.stderr
    assert reference[1].items() <= contents(folder).items()
    figures("i. signals", f"closed pipe: {' '.join(arguments[:2])}")


def test_head_of_the_real_command(reference):
    command = f'"{Path(sys.executable).with_name("clipfuse")}" cache info features/texts --json | head -n 0'
    done = subprocess.run(["bash", "-c", command], cwd=reference[0], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
