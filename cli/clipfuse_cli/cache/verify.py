"""``clipfuse cache verify``: is every file still what was written?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from clipfuse_cli import options as o


def verify(
    path: o.CachePath = None,
    remove_damaged: Annotated[
        bool, typer.Option("--remove-damaged", help="Delete damaged files, so that extract makes them again.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Read every shard and check its contents and SHA-256. Exit with 1 if anything is damaged, missing or extra.

    Files that are not the cache's are listed and do not count.

    Example: clipfuse cache verify features/photos --remove-damaged && clipfuse extract
    """
    from clipfuse_cache import FeatureCache
    from clipfuse_cache import verify as library
    from clipfuse_cli.console import note, progress_bar

    cache = FeatureCache(o.cache_path(o.project(), path))
    with progress_bar() as progress:
        found = library.verify(cache, progress)
    removed = library.remove_damaged(cache, found) if remove_damaged else []
    if json:
        import json as writer

        values = {"path": str(cache.root), "whole": not found.problems, **asdict(found), "removed": removed}
        print(writer.dumps(values, indent=1))
    else:
        for problem in found.problems:
            print(f"{problem.kind}: {problem.file}: {problem.what}")
        print(f"{cache.root}: {found.shards:,} shards of {found.tables} tables, {found.bytes / 1e6:,.1f} MB read")
    if found.foreign:
        note(f"not ours: {', '.join(found.foreign)}; delete them by hand if you like")
    if not found.problems:
        note("everything is as it was written")
        return
    kinds = {problem.kind for problem in found.problems}
    if removed:
        note(f"deleted: {', '.join(removed)}")
    if "damaged" in kinds and not removed:
        note(
            "next: clipfuse cache verify --remove-damaged deletes what is damaged, and clipfuse extract makes it again"
        )
    elif kinds & {"damaged", "missing"}:
        note("next: run clipfuse extract again: damaged and missing shards are made again")
    if "missing" in kinds or "damaged" in kinds:
        note("(imported features: run clipfuse cache import again)")
    if "extra" in kinds:
        note("(extra shards: nothing reads them; delete them by hand)")
    raise typer.Exit(1)
