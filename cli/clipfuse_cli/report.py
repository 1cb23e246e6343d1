"""``clipfuse report``: runs as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.data import Dataset
    from clipfuse.doctor import Finding
    from clipfuse.run import Run
    from clipfuse_cache import FeatureCache, Samples

_PRODUCTS = 30_000_000_000
"""Multiplications of a search for near-duplicates that a report waits for: about a second."""


def report(
    runs_given: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Names or directories of runs; the newest if left out."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write: .html.")] = Path("report.html"),
    table: Annotated[Path | None, typer.Option(help="The table of the rows; clipfuse.toml's if left out.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder, .zip or .tar of the pictures; without a table, called by the ids.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="The cache with the rows; if left out that of the first run, or, moved, of clipfuse.toml."),
    ] = None,
    rows: Annotated[int, typer.Option(min=0, max=200, help="Rows of each kind in a run's gallery.")] = 12,
    health: Annotated[bool, typer.Option("--health/--no-health", help="What is wrong with the data.")] = True,
    runs: o.Runs = None,
) -> None:
    """Write runs into one HTML file that opens from disk and loads nothing: scores beside the trivial rows, labels,
    curves, reliability, modalities, the worst mistakes with their pictures, the health of the data.

    Example: clipfuse report 20260131-120000-sum 20260131-120100-text -o report.html
    """
    from clipfuse.data.images import open_images
    from clipfuse.errors import ConfigError
    from clipfuse.report import RowInputs, build_report, write_report
    from clipfuse.report.page import check_report
    from clipfuse.run import newest_run, open_run
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.console import note
    from clipfuse_cli.known_rows import find_dataset

    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"-o {out}: a report is HTML", "Name a file that ends in .html")
    check_report()
    project = o.project()
    folder = runs or project.runs
    loaded = [o.open_run(run, folder) for run in dict.fromkeys(runs_given or ())] or [open_run(newest_run(folder))]
    found = FeatureCache(cache or _place_of_cache(loaded[0], project.cache))
    samples = _samples(found, required=cache is not None)
    by_id = table is None and project.data is None and images is not None
    dataset = None if by_id else find_dataset(project, table, images, samples)
    source = open_images(images) if by_id and images is not None else None
    section = None
    if health and samples is not None:
        from clipfuse.report.health import health_section

        section = health_section(_examine(found, samples, loaded, dataset))
    content = build_report(loaded, RowInputs(samples, dataset, source), shown=rows, health=section)
    write_report(out, content)
    note(f"{out}: {len(loaded)} {'run' if len(loaded) == 1 else 'runs'}, {len(content) / 1e6:.1f} MB")


def _place_of_cache(run: Run, known: Path | None) -> Path:
    """Where a run's cache was when it was trained; ``known``, if it is no longer there and that has the run's split."""
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.known_rows import find_split_by_digest

    recorded = Path(run.metrics["cache"])
    if known is None or recorded.exists():
        return recorded
    kept = find_split_by_digest(FeatureCache(known), str(run.metrics["split"]["digest"]))
    return recorded if kept is None else known


def _samples(cache: FeatureCache, *, required: bool) -> Samples | None:
    """The cache's, where it is still there."""
    from clipfuse.errors import CacheError
    from clipfuse_cli.console import note

    try:
        return cache.samples()
    except CacheError as error:
        if required:
            raise
        note(f"no captions and no health of the data: {error}")
        return None


def _examine(cache: FeatureCache, samples: Samples, runs: list[Run], dataset: Dataset | None) -> list[Finding]:
    """The checks of the data, with what the first run that can says of rows that it had not seen."""
    from clipfuse.doctor import Subject, examine
    from clipfuse.doctor.asked_run import ask_run
    from clipfuse_cli.known_rows import find_kept_split, find_split_by_digest

    digest = str(runs[0].metrics["split"]["digest"])
    split = find_split_by_digest(cache, digest) or find_kept_split(cache, None)
    asked = next((found for run in runs if (found := ask_run(run, samples)) is not None), None)
    return examine(Subject(cache, samples, split, asked, dataset), products=_PRODUCTS)
