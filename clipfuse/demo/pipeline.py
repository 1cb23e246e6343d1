"""The demo: data drawn on the spot, both stages, six models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipfuse.bench import BenchGroup, bench
from clipfuse.config import ProjectConfig, SplitConfig, TableConfig
from clipfuse.data import LedgerEntry, load_dataset
from clipfuse.data.ledger import write_ledger
from clipfuse.demo.scenes import draw_dataset
from clipfuse.encoders import find_encoder
from clipfuse.errors import ConfigError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.inputs import Progress, no_progress
from clipfuse.project import FILE_NAME, load_project, save_project
from clipfuse.splits import find_split
from clipfuse.train_config import FusionConfig, HeadConfig, TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import FeatureCache

FUSIONS = ("image", "text", "concat", "sum", "mixed")


@dataclass(frozen=True)
class DemoResult:
    """What the demo did: rows drawn, rows/s of stage one (0 where nothing was left to do), the table of its runs."""

    rows: int
    rows_per_second: float
    ledger: Sequence[LedgerEntry]
    cache: Path
    group: BenchGroup


def run_demo(folder: Path, *, rows: int, seed: int, progress: Progress = no_progress) -> DemoResult:
    """Draw, extract with mini, train image, text, concat, sum, mixed and kNN, and compare them on the test rows.

    ``folder`` gets scenes.csv, images/, clipfuse.toml, features/ and runs/; runs of an earlier demo stay beside the
    new ones.

    Raises:
        ClipfuseError: as the two stages do.
    """
    inside = TableConfig(table=Path("scenes.csv"), images=Path("images"))
    project = ProjectConfig(data=inside, cache=Path("features/scenes"))
    theirs = (folder / FILE_NAME).exists() and load_project(folder) != project
    if theirs or ((folder / "scenes.csv").exists() and not (folder / FILE_NAME).exists()):
        raise ConfigError(f"{folder} holds work of its own, which the demo would replace", "Name another --folder")
    progress("drawing scenes", 0, 0)
    folder.mkdir(parents=True, exist_ok=True)
    save_project(folder, project)
    table = draw_dataset(folder, rows=rows, seed=seed)
    data = TableConfig(table=table, images=folder / "images")
    dataset = load_dataset(data)
    cache = FeatureCache(folder / "features" / "scenes")
    report = extract([find_encoder("mini")], dataset, cache, ExtractOptions(), progress)
    write_ledger(cache.ledger, report.ledger, report.notes)
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    runs = folder / "runs"
    configs = [TrainConfig(fusion=FusionConfig(kind=kind)) for kind in FUSIONS]
    configs.append(TrainConfig(head=HeadConfig(kind="knn"), fusion=FusionConfig(kind="concat")))
    names = set()
    for config in configs:
        run = train_head(cache, samples, split, config, runs=runs, progress=progress)
        names.add(run.name)
    groups, _ = bench(runs)
    group = next(group for group in groups if group.split["digest"] == split.digest)
    mine = tuple(run for run in group.runs if run.name in names)
    speed = len(dataset) / report.encode_seconds if any(one.encoded for one in report.tables) else 0.0
    return DemoResult(
        len(dataset), speed, report.ledger, cache.root, BenchGroup(group.split, group.rows, group.trivial, mine)
    )
