"""``clipfuse cache drop``: remove a feature table."""

from __future__ import annotations

from typing import Annotated

import typer

from clipfuse_cli import options as o


def drop(table: Annotated[str, typer.Argument(help=o.TABLE_HELP)], cache: o.Cache = None) -> None:
    """Delete one feature table and say how much room that made. Samples, splits and runs stay.

    Example: clipfuse cache drop mini/image/projected --cache features/photos
    """
    from clipfuse.cache_tables import find_folder
    from clipfuse_cache import FeatureCache
    from clipfuse_cache.drop import drop_table
    from clipfuse_cli.console import note

    folder = find_folder(FeatureCache(o.cache_path(o.project(), cache)), table)
    note(f"{folder} deleted, {drop_table(folder) / 1e6:,.1f} MB freed")
