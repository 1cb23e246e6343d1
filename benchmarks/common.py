"""What the benchmarks share: data, results with the machine's description, one table on stdout."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from clipfuse.config import SplitConfig, TableConfig
from clipfuse.data import Dataset, load_dataset
from clipfuse.data.split import Split
from clipfuse.demo.scenes import draw_dataset
from clipfuse.encoders import find_encoder
from clipfuse.extract import ExtractOptions, extract
from clipfuse.machine import describe_machine
from clipfuse.splits import find_split
from clipfuse.train_config import StreamConfig
from clipfuse_cache import FeatureCache, Samples

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does; before torch is imported
RESULTS = Path(__file__).parent / "results"


def parser(about: str) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--data", type=Path, help="a table of your own; scenes are drawn if left out")
    options.add_argument("--images", type=Path, help="its pictures")
    options.add_argument("--rows", type=int, default=1500, help="scenes to draw, or rows of the table to use")
    options.add_argument("--quick", action="store_true", help="a small run that only shows that the script works")
    options.add_argument("--out", type=Path, help="where to write the JSON; benchmarks/results/ if left out")
    return options


def open_data(options: argparse.Namespace, folder: Path) -> Dataset:
    """The table that was given, or scenes drawn into ``folder``."""
    if options.data is not None:
        return load_dataset(TableConfig(table=options.data, images=options.images))
    table = draw_dataset(folder, rows=options.rows)
    return load_dataset(TableConfig(table=table, images=folder / "images"))


def add_cache_options(options: argparse.ArgumentParser) -> None:
    """Options of benchmarks of stage two."""
    options.add_argument("--cache", type=Path, help="a cache of your own, instead of --data")
    options.add_argument("--image-encoder", action="append", default=[], help="where the cache has several; repeatable")
    options.add_argument("--text-encoder", action="append", default=[], help="the same")
    options.add_argument("--image-output")
    options.add_argument("--text-output")


def open_cache(options: argparse.Namespace, folder: Path) -> FeatureCache:
    """The cache that was given, or one of --data in ``folder``, encoded with mini."""
    cache = FeatureCache(options.cache or folder / "cache")
    if options.cache is None:
        extract([find_encoder("mini")], open_data(options, folder / "data"), cache, ExtractOptions())
    return cache


def open_split(options: argparse.Namespace, folder: Path) -> tuple[FeatureCache, Samples, Split]:
    """The cache of :func:`open_cache`, its samples, and the split that train-head would take."""
    cache = open_cache(options, folder)
    samples = cache.samples()
    return cache, samples, find_split(cache, samples, SplitConfig(), None)


def in_own_process(script: str, *arguments: object) -> Any:
    """What a script prints as JSON, run where nothing else has been before: a peak of memory never goes down."""
    command = [sys.executable, script, *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def chosen_streams(options: argparse.Namespace) -> dict[str, StreamConfig]:
    """Settings "image" and "text" of a training, as the options name them."""
    return {
        "image": StreamConfig(encoder=tuple(options.image_encoder), output=options.image_output),
        "text": StreamConfig(encoder=tuple(options.text_encoder), output=options.text_output),
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(name: str, options: argparse.Namespace, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    """Print ``rows`` as a table and write them, with the machine and ``facts``, to results/NAME.json."""
    print_table(name, rows)
    out = options.out or RESULTS / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {"date": str(date.today()), "machine": describe_machine("cpu"), **facts, "rows": list(rows)}
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows``, all of the same keys; what was not measured is a dash."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in rows[0]:
        grid.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        grid.add_row(*map(_shown, row.values()))
    Console(width=200).print(grid)


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
