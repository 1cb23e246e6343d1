"""``clipfuse cache info``: what a feature cache holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipfuse_cli import options as o

_ABSENT = "not installed"


def info(path: o.CachePath = None, json: o.Json = False) -> None:
    """Samples, feature tables with widths, rows, failures and bytes, splits.

    Example: clipfuse cache info features/photos --json
    """
    from clipfuse.cache_info import describe_cache
    from clipfuse_cache import FeatureCache

    about = describe_cache(FeatureCache(o.cache_path(o.project(), path)))
    if json:
        import json as writer

        print(writer.dumps(about, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import output

    console = output()
    samples = about["samples"]
    console.print(
        f"{about['path']}: {samples['rows']:,} samples of {', '.join(samples['tables'])}, {samples['labels']} labels",
        markup=False,
    )
    grid = Table(box=None, pad_edge=False)
    for name in ("features", "width", "rows", "valid", "failed", "MB", "precision", "fingerprint", "state"):
        grid.add_column(name, justify="left" if name in {"features", "fingerprint", "state"} else "right")
    for table in about["tables"]:
        grid.add_row(
            Text(table["name"]),
            _width(table),
            *(_number(table[key]) for key in ("rows", "valid", "failed")),
            f"{table['bytes'] / 1e6:.1f}",
            f"{table['precision']} → {table['dtype']}" if table["dtype"] else "?",
            (table["fingerprint"] or "?")[:12],
            table["state"],
        )
    console.print(grid)
    for table in about["tables"]:
        for note, rows in table["notes"].items():
            console.print(f"{table['name']}: {rows:,} {note}", markup=False)
    for line in _provenances(about["tables"]):
        console.print(line, markup=False, soft_wrap=True)
    for split in about["splits"]:
        console.print(f"split {split['name']}: {split['train']:,} / {split['validation']:,} / {split['test']:,}")
    for folder in about["unfinished"]:
        console.print(f"unfinished: {folder}; run clipfuse extract again and it goes on", markup=False)


def _width(table: Mapping[str, Any]) -> str:
    return f"{table['tokens']} × {table['dim']}" if (table["tokens"] or 1) > 1 else _number(table["dim"])


def _provenances(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """What made the tables, one line for each device and set of versions; with names where there are several."""
    names: dict[str, list[str]] = {}
    for table in tables:
        made = table["provenance"] or {}
        if "libraries" in made:
            versions = [f"{name} {version}" for name, version in made["libraries"].items() if version != _ABSENT]
            names.setdefault(f"made on {made.get('device', '?')} with {', '.join(versions)}", []).append(table["name"])
        elif "file" in made:
            names.setdefault(f"imported from {made['file']}", []).append(table["name"])
    return [f"{', '.join(of)}: {line}" if len(names) > 1 else line for line, of in names.items()]


def _number(value: Any) -> str:
    return "?" if value is None else f"{value:,}"
