"""``clipfuse cache export``: one feature table as one plain file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o


def export(
    table: Annotated[str, typer.Argument(help=o.TABLE_HELP)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write: .h5, .npz or .parquet.")],
    cache: o.Cache = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a feature table's rows, in the order of the samples, to one plain file for other tools.

    Example: clipfuse cache export mini/image/projected -o photos.npz
    """
    from clipfuse.cache_tables import find_folder
    from clipfuse_cache import FeatureCache, FeatureTable
    from clipfuse_cache.export import export_table
    from clipfuse_cli.console import note, progress_bar

    where = FeatureCache(o.cache_path(o.project(), cache))
    found = FeatureTable.open(find_folder(where, table))
    samples = where.samples()
    with progress_bar() as progress:
        size = export_table(found, samples, out, overwrite=force, progress=progress)
    note(f"{len(samples):,} rows of {found.description.name} in {out}, {size / 1e6:,.1f} MB")
