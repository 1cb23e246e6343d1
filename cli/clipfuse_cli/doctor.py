"""``clipfuse doctor``: what is wrong with the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipfuse.config import ProjectConfig
    from clipfuse.doctor import Finding, OutOfFold
    from clipfuse_cache import FeatureCache, Samples

_SHOWN = 5
_WIDEST = 60


def doctor(
    cache: o.CachePath = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for one CSV a check, with all rows that it found.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Take probabilities from this run (best: a cross-validation); trains if left out."),
    ] = None,
    folds: Annotated[int, typer.Option(min=0, help="Models to train for likely wrong labels; 0 trains none.")] = 5,
    similarity: Annotated[
        float, typer.Option(min=0.01, max=1, help="Cosine of centred features from which rows are near-duplicates.")
    ] = 0.9,
    split: Annotated[str | None, typer.Option(help="Which rows do what; the cache's newest split if left out.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="The table, to find pictures by; clipfuse.toml's if left out.")
    ] = None,
    images: o.Images = None,
    runs: o.Runs = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """Look for what is wrong with the data: duplicates, likely wrong labels, pictures and captions that don't fit,
    labels that are too rare, missing parts, odd sizes. Nothing of the cache is changed.

    In the CSVs a text that a spreadsheet would run as a formula has an apostrophe in front.

    Example: clipfuse doctor features/photos -o to-mend/
    """
    from clipfuse.doctor import Subject, examine, write_findings
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.console import note, progress_bar
    from clipfuse_cli.known_rows import find_dataset, find_kept_split

    project = o.project()
    opened = FeatureCache(o.cache_path(project, cache))
    samples = opened.samples()
    kept = find_kept_split(opened, split)
    dataset = find_dataset(project, table, images, samples)
    asked = _ask(opened, samples, project, run, folds, runs, device)
    with progress_bar() as progress:
        subject = Subject(opened, samples, kept, asked, dataset)
        findings = examine(subject, similarity=similarity, progress=progress)
    written = write_findings(out, findings) if out is not None else []
    if json:
        import json as writer

        about = {"cache": str(opened.root), "rows": len(samples), "split": kept.name if kept is not None else None}
        print(writer.dumps({**about, "findings": [finding.to_dict() for finding in findings]}, indent=1))
    else:
        show_findings(findings)
    if written:
        note(f"{len(written)} tables written to {out}")
    elif out is not None:
        note("nothing was found, so nothing was written")


def show_findings(findings: Sequence[Finding]) -> None:
    """Counts of all checks, then the worst rows of each."""
    from clipfuse_cli.console import output
    from clipfuse_cli.tables import new_grid, plain

    console = output()
    for finding in findings:
        console.print(f"[bold]{finding.title}[/bold]", end=": ")
        console.print(finding.summary, markup=False)
        if not finding.rows:
            continue
        grid = new_grid(*finding.columns)
        for column in grid.columns:
            column.justify, column.no_wrap, column.overflow, column.max_width = "left", False, "fold", _WIDEST
        for row in finding.rows[:_SHOWN]:
            grid.add_row(*(plain(_text(value)) for value in row))
        console.print(grid)
        more = len(finding.rows) - _SHOWN
        if more > 0:
            console.print(f"… and {more:,} more: -o FOLDER writes all of them", style="dim")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = " ".join(str("" if value is None else value).split())
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return shown if len(shown) <= _WIDEST else shown[: _WIDEST - 1] + "…"


def _ask(
    cache: FeatureCache,
    samples: Samples,
    project: ProjectConfig,
    run: Path | None,
    folds: int,
    runs: Path | None,
    device: str | None,
) -> OutOfFold | None:
    """Probabilities of models that had not seen the rows: of a run, or of fresh ones; None where none can be had."""
    from clipfuse.doctor.asked_run import ask_run
    from clipfuse.errors import ConfigError
    from clipfuse_cli.console import note, progress_bar

    if run is not None:
        opened = o.open_run(run, runs or project.runs)
        found = ask_run(opened, samples)
        if found is None:
            raise ConfigError(f"{opened.name} says nothing of the rows of {cache.root}", "Name a run of this cache")
        return found
    if samples.labels is None or folds == 0:
        return None
    if folds == 1:
        raise ConfigError("--folds 1 leaves no rows to train on", "Choose 2 or more, or 0 for no training")
    from clipfuse.doctor.out_of_fold import ask_folds, default_config
    from clipfuse.machine import choose_device

    try:
        config = default_config(cache, samples)
    except ConfigError as error:
        note(f"no models for likely wrong labels: {error.problem}")
        return None
    with progress_bar() as progress:
        return ask_folds(
            cache, samples, config, folds=folds, device=choose_device(device or project.device), progress=progress
        )
