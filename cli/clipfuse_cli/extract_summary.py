"""What ``clipfuse extract`` says when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipfuse.data.dataset import LedgerEntry
    from clipfuse.extract import ExtractReport
    from clipfuse.extract_preview import ExtractPreview
    from clipfuse.stage_clock import StageClock
    from clipfuse_cache import FeatureCache, Share


def show_report(report: ExtractReport, cache: FeatureCache, *, json: bool) -> None:
    """The feature tables on stdout, what was done on stderr."""
    from clipfuse_cli.console import note

    _say_removed(report.removed)
    tables = [
        {
            "name": table.table.description.name,
            "fingerprint": table.table.description.fingerprint,
            "tokens": table.table.description.tokens,
            "dim": table.table.description.dim,
            "rows": table.rows,
            "encoded": table.encoded,
            "failed": table.failed,
            "stale": len(table.stale),
            "damaged": list(table.damaged),
        }
        for table in report.tables
    ]
    for table in report.tables:
        name = table.table.description.name
        if table.stale:
            note(f"{name}: {len(table.stale)} rows had changed, the first is {table.stale[0]!r}")
        if table.damaged:
            note(f"{name}: damaged shards made again: {', '.join(table.damaged)}")
    if json:
        _print_json({"cache": str(cache.root), "tables": tables}, report.ledger, report.removed)
    else:
        _print_grid(tables, {"rows": "rows", "encoded now": "encoded", "failed": "failed"})
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


def show_preview(preview: ExtractPreview, cache: Path, *, json: bool) -> None:
    """What would be done, on stdout."""
    from clipfuse_cli.console import note

    _say_removed(preview.removed)
    tables = [table.to_dict() for table in preview.tables]
    for table in preview.tables:
        if table.stale:
            note(f"{table.name}: {table.stale:,} rows have changed")
        if table.damaged:
            note(f"{table.name}: damaged shards would be made again: {', '.join(table.damaged)}")
    if json:
        _print_json({"cache": str(cache), "dry_run": True, "tables": tables}, preview.ledger, preview.removed)
    else:
        columns = {"rows": "rows", "there": "there", "to encode": "to_encode", "absent": "absent", "shards": "shards"}
        _print_grid(tables, columns)
    most = max(table.to_encode for table in preview.tables)
    note(f"nothing is written; without --dry-run up to {most:,} rows are encoded into {cache}")


def _say_removed(removed: Sequence[str]) -> None:
    from clipfuse_cli.console import note

    if removed:
        note(f"{len(removed):,} rows are no longer in the table, the first is {removed[0]!r}")


def _print_json(about: Mapping[str, Any], ledger: Sequence[LedgerEntry], removed: Sequence[str]) -> None:
    from dataclasses import asdict
    from json import dumps

    print(dumps({**about, "removed": list(removed), "unusable": [asdict(entry) for entry in ledger]}, indent=1))


def _print_grid(tables: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """``columns``: title -> key of a table."""
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import output

    grid = Table(box=None, pad_edge=False)
    grid.add_column("features")
    for title in ("width", *columns):
        grid.add_column(title, justify="right")
    for table in tables:
        width = f"{table['tokens']} × {table['dim']}" if table["tokens"] > 1 else str(table["dim"])
        grid.add_row(Text(table["name"]), width, *(f"{table[key]:,}" for key in columns.values()))
    output().print(grid)


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
