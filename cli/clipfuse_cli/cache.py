"""``clipfuse cache``: look into a feature cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o

app = typer.Typer(no_args_is_help=True, help="Look into a feature cache.")


@app.callback()
def _root() -> None: ...


@app.command("info")
def info(
    path: Annotated[Path | None, typer.Argument(help="The cache; clipfuse.toml's if left out.")] = None,
    json: o.Json = False,
) -> None:
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
            str(table["dim"]),
            *(f"{table[key]:,}" for key in ("rows", "valid", "failed")),
            f"{table['bytes'] / 1e6:.1f}",
            f"{table['precision']} → {table['dtype']}",
            table["fingerprint"][:12],
            table["state"],
        )
    console.print(grid)
    for split in about["splits"]:
        console.print(f"split {split['name']}: {split['train']:,} / {split['validation']:,} / {split['test']:,}")
    for folder in about["unfinished"]:
        console.print(f"unfinished: {folder}; run clipfuse extract again and it goes on", markup=False)
