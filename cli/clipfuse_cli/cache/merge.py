"""``clipfuse cache merge``: complete what several workers have made."""

from __future__ import annotations

from clipfuse_cli import options as o


def merge(path: o.CachePath = None) -> None:
    """Check the shards that several workers have made and complete their tables. Safe to run again.

    Example: clipfuse cache merge features/photos
    """
    from clipfuse_cache import FeatureCache
    from clipfuse_cache import merge as library
    from clipfuse_cli.console import note

    tables = library(FeatureCache(o.cache_path(o.project(), path)))
    for table in tables:
        shards = table.manifest.shards
        failed = sum(shard.failed for shard in shards)
        broken = f", {failed:,} could not be used" if failed else ""
        print(f"{table.description.name}: complete, {table.manifest.rows:,} rows{broken}, {len(shards)} shards")
    if tables:
        note("for the ledger: run clipfuse extract once more, without a worker's number; it finds nothing to encode")
    else:
        note("nothing to do: no table is unfinished")
