"""``clipfuse bench``: all runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.config import ProjectConfig
    from clipfuse.data import Dataset
    from clipfuse_cache import FeatureCache


def bench(
    sort: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Best first by micro-f1, macro-f1, samples-f1, weighted-f1, map, subset-accuracy, label-accuracy;"
            " stage1-rows-s, stage1-s, train-s; latency-ms, rows-s (from features), end-to-end-ms, end-to-end-rows-s"
            " (from pictures and captions); peak-mb, gpu-mb; head-, encoder- or total-params and -mb; run, kind,"
            " encoders, machine.",
        ),
    ] = "micro-f1",
    columns: Annotated[
        str | None, typer.Option(help="Only these columns: names as of --sort, comma between.", metavar="NAMES")
    ] = None,
    all_columns: Annotated[bool, typer.Option("--all", help="Every column.")] = False,
    max_mb: Annotated[float | None, typer.Option(min=0, help="Mark what has at most so many MB, encoders too.")] = None,
    max_ms: Annotated[
        float | None, typer.Option(min=0, help="Mark what takes at most so many ms from a picture and caption.")
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Measure predictions again, minutes a run if it is slow, and keep it.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw score against size and seconds: a file that ends in .svg or .png.")
    ] = None,
    json: o.Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    device: Annotated[
        str | None, typer.Option(help="Of the encoders with --rerun: cpu, cuda, or auto: a GPU if there is one.")
    ] = None,
    runs: o.Runs = None,
) -> None:
    """Compare all runs: scores with intervals, seconds, speed, memory, sizes. Ranked within one split only.

    JSON, CSV and Markdown have every column, the latter two those of --columns if given. What another machine measured
    is marked and not compared.

    Example: clipfuse bench --sort total-mb --max-mb 100
    """
    from clipfuse.bench import bench as run_bench
    from clipfuse.bench_cells import sorted_by
    from clipfuse.bench_columns import COLUMNS, find_columns
    from clipfuse.budget import Budget
    from clipfuse.errors import ConfigError
    from clipfuse.run import newest_run
    from clipfuse_cli.bench_formats import as_csv, as_json, as_markdown
    from clipfuse_cli.bench_tables import show_bench
    from clipfuse_cli.console import note, warn

    forms = [name for name, wanted in (("--json", json), ("--csv", csv), ("--markdown", markdown)) if wanted]
    if len(forms) > 1:
        raise ConfigError(f"{' and '.join(forms)} are given", "Choose one of them")
    if columns is not None and all_columns:
        raise ConfigError("--columns and --all are given", "Choose one of them")
    if json and columns is not None:
        raise ConfigError("--json has every column, so --columns does nothing", "Leave it out, or give --csv")
    if device is not None and not rerun:
        raise ConfigError("--device says where --rerun measures", "Give --rerun, or leave it out")
    COLUMNS.get(sort)
    every = [column for column in COLUMNS.entries() if column.name != "run"]
    named = None if columns is None else find_columns([name.strip() for name in columns.split(",")])
    budget = Budget(max_mb, max_ms)
    project = o.project()
    folder = runs or project.runs
    newest_run(folder)  # says what to type where there is none
    if plot is not None:
        from clipfuse.bench_plot import check_plot

        check_plot(plot)
    if rerun:
        measure_again(folder, project, device)
    groups, problems = run_bench(folder)
    groups = [sorted_by(group, sort) for group in groups]
    for problem in problems:
        warn(f"left out: {problem}")
    if plot is not None:
        from clipfuse.bench_plot import plot_bench

        score = sort if COLUMNS.get(sort).metric is not None else "micro-f1"
        plot_bench(plot, groups, COLUMNS.get(score))
        note(f"drawn: {plot}")
    if json:
        print(as_json(groups, budget))
    elif csv:
        print(as_csv(groups, named or every, budget))
    elif markdown:
        print(as_markdown(groups, named or every, budget))
    else:
        for group in groups:
            show_bench(group, every if all_columns else named, budget)


def measure_again(runs: Path, project: ProjectConfig, device: str | None) -> None:
    """Time the predictions of every run, and keep that beside it."""
    from clipfuse.bench import open_runs
    from clipfuse.errors import ClipfuseError
    from clipfuse.live import LoadedEncoders
    from clipfuse.machine import choose_device
    from clipfuse.measured import write_measured
    from clipfuse.rerun import Rerun
    from clipfuse_cli.console import note, progress_bar

    encoders = LoadedEncoders(choose_device(device or project.device))
    again = Rerun(encoders, _dataset(project), _cache(project), project.extract.word_list)
    found, _ = open_runs(runs)
    said: dict[str, list[str]] = {}
    with progress_bar() as progress:
        for number, run in enumerate(found):
            progress("measuring", number, len(found))
            try:
                measured, notes = again.measure(run)
                write_measured(run.path, measured)
            except ClipfuseError as error:
                notes = [f"not at all ({error.problem})"]
            for text in notes:
                said.setdefault(text, []).append(run.name)
    for text, names in said.items():
        note(f"measured {text}: {', '.join(names)}")


def _cache(project: ProjectConfig) -> FeatureCache | None:
    """The project's, where it is known."""
    from clipfuse.errors import ConfigError
    from clipfuse_cache import FeatureCache

    try:
        return FeatureCache(o.cache_path(project, None))
    except ConfigError:
        return None


def _dataset(project: ProjectConfig) -> Dataset | None:
    """The project's rows, to be predicted end to end; None where they can't be had, which is said."""
    from clipfuse.data import concatenate, load_dataset
    from clipfuse.errors import ClipfuseError
    from clipfuse_cli.console import warn

    try:
        tables = o.loaded_tables(project)
        return concatenate([load_dataset(table) for table in tables]) if tables else None
    except ClipfuseError as error:
        warn(f"no rows to predict end to end: {error}")
        return None
