"""What a report takes: seconds and MB at 5,000 test rows, for one run and for three, with and without the checks of the
data; each in a process of its own, from the first import on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, chosen_streams, open_cache, parser, report

from clipfuse.config import ProjectConfig, SplitConfig, TableConfig
from clipfuse.project import save_project
from clipfuse.splits import find_split
from clipfuse.train_config import FitConfig, FusionConfig, HeadConfig, TrainConfig
from clipfuse.train_head import train_head

TESTED = 5000
FUSIONS = ("sum", "image", "text")
MEASURED = ((1, False), (1, True), (3, False), (3, True))
"""Runs of a report, and whether the data are checked."""


def main() -> None:
    options = parser(__doc__ or "")
    options.set_defaults(rows=7200)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.repeats = 60, 1
    chosen.cache, chosen.image_encoder, chosen.text_encoder = None, [], []
    chosen.image_output = chosen.text_output = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names, rows = train(chosen, folder)
        found = [
            measure(folder, names[:count], rows, health=health, repeats=chosen.repeats)
            for count, health in (MEASURED[1:2] if chosen.quick else MEASURED)
        ]
    report("report", chosen, found, {"repeats": chosen.repeats, "rows of the cache": chosen.rows})
    if chosen.out is None:
        print(f"written to {RESULTS / 'report.json'}")


def train(options: argparse.Namespace, folder: Path) -> tuple[list[str], int]:
    """Names of the runs, and how many test rows each has; clipfuse.toml says where the pictures are."""
    cache = open_cache(options, folder)
    samples = cache.samples()
    share = min(TESTED / len(samples), 0.5) if options.quick else TESTED / len(samples)
    split = find_split(cache, samples, SplitConfig(test=share), None)
    names = []
    for kind in FUSIONS[:1] if options.quick else FUSIONS:
        config = TrainConfig(
            fusion=FusionConfig(kind=kind),
            head=HeadConfig(kind="mlp"),
            fit=FitConfig(epochs=2 if options.quick else 8),
            **chosen_streams(options),
        )
        names.append(train_head(cache, samples, split, config, runs=folder / "runs").name)
    table, images = (options.data, options.images) if options.data else next_to(folder / "data")
    save_project(
        folder, ProjectConfig(data=TableConfig(table=table, images=images), cache=cache.root, runs=folder / "runs")
    )
    return names, len(split.roles["test"])


def next_to(folder: Path) -> tuple[Path, Path]:
    """The drawn table and its pictures."""
    (table,) = folder.glob("*.csv")
    return table, folder / "images"


def measure(folder: Path, names: list[str], rows: int, *, health: bool, repeats: int) -> dict[str, Any]:
    """Wall clock and processor seconds, the least of the repeats, and the file's size."""
    seconds, cpu = [], []
    command = [sys.executable, "-c", "from clipfuse_cli.main import main; main()", "report", *names, "-o", "r.html"]
    for _ in range(repeats):
        started, before = time.perf_counter(), os.times()
        subprocess.run([*command, *([] if health else ["--no-health"])], cwd=folder, check=True, capture_output=True)
        after = os.times()
        seconds.append(time.perf_counter() - started)
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    size = (folder / "r.html").stat().st_size
    about = {"runs": len(names), "test rows": rows, "checks": "yes" if health else "no"}
    return {**about, "s": min(seconds), "processor s": min(cpu), "MB": size / 1e6}


if __name__ == "__main__":
    main()
