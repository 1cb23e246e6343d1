"""How long the command takes to answer: clipfuse --help, as a whole process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import parser, report


def main() -> None:
    chosen = parser(__doc__ or "").parse_args()
    command = str(Path(sys.executable).with_name("clipfuse"))
    rows = []
    for arguments in (["--help"], ["train-head", "--help"], ["--version"]):
        seconds = []
        for _ in range(1 if chosen.quick else 11):
            started = time.perf_counter()
            subprocess.run([command, *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        best, middle = min(seconds), statistics.median(seconds)
        rows.append({"command": " ".join(["clipfuse", *arguments]), "median s": middle, "best s": best})
    report("start", chosen, rows, {})


if __name__ == "__main__":
    main()
