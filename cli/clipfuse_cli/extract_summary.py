"""What ``clipfuse extract`` says when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipfuse.extract import ExtractReport
    from clipfuse.stage_clock import StageClock
    from clipfuse_cache import Share


def show_tables(report: ExtractReport) -> None:
    """The feature tables on stdout, what was done on stderr."""
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import note, output

    if report.removed:
        note(f"{len(report.removed):,} rows are no longer in the table, the first is {report.removed[0]!r}")
    grid = Table(box=None, pad_edge=False)
    for name, side in (("features", "left"), ("width", "right"), ("rows", "right"), ("encoded now", "right")):
        grid.add_column(name, justify=side)  # type: ignore[arg-type]
    grid.add_column("failed", justify="right")
    for table in report.tables:
        about = table.table.description
        width = f"{about.tokens} × {about.dim}" if about.tokens > 1 else str(about.dim)
        grid.add_row(Text(about.name), width, f"{table.rows:,}", f"{table.encoded:,}", f"{table.failed:,}")
        if table.stale:
            note(f"{about.name}: {len(table.stale)} rows had changed, the first is {table.stale[0]!r}")
        if table.damaged:
            note(f"{about.name}: damaged shards made again: {', '.join(table.damaged)}")
    output().print(grid)
    encoded = max(table.encoded for table in report.tables)
    if encoded == 0:
        note("nothing to do: every row is there already")
    else:
        seconds = report.encode_seconds
        loaded = f", weights loaded in {report.load_seconds:.1f} s" if report.stages else ""
        note(f"{encoded:,} rows in {seconds:.1f} s ({encoded / seconds:,.0f} rows/s){loaded}")
    show_stages(report)
    for done in report.notes:
        note(str(done))


def show_share(report: ExtractReport, share: Share, cache: Path) -> None:
    """What one worker of several did, and what comes next."""
    from clipfuse_cli.console import note

    note(f"worker {share.index} of {share.count}: {report.shards:,} shards made in {report.encode_seconds:.1f} s")
    show_stages(report)
    note(f"when all workers are through: clipfuse cache merge {cache}")


def show_stages(report: ExtractReport) -> None:
    """Which stage was the bottleneck, and by how much."""
    from clipfuse_cli.console import note

    for modality, clock in report.stages.items():
        if clock.total:
            note(describe_stages("pictures" if modality == "image" else "captions", clock))


def describe_stages(inputs: str, clock: StageClock) -> str:
    """ "pictures: the encoder was busy 93% of 21.0 s and is the bottleneck"."""
    busy = f"{inputs}: the encoder was busy {clock.busy:.0%} of {clock.total:.1f} s"
    if clock.bottleneck == "encoder":
        return f"{busy} and is the bottleneck"
    if clock.bottleneck == "disk":
        return f"{busy} and waited {clock.disk / clock.total:.0%} for the disk, which is the bottleneck"
    work, help_ = ("tokenizing", "") if inputs == "captions" else ("reading and decoding", " (more --threads may help)")
    return f"{busy} and waited {clock.inputs / clock.total:.0%} for {inputs}: {work} is the bottleneck{help_}"
