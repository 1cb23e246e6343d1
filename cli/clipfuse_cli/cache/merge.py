"""``clipfuse cache merge``: complete what several workers have made."""

from __future__ import annotations

from clipfuse_cli import options as o


def merge(path: o.CachePath = None, json: o.Json = False) -> None:
    """Check the shards that several workers have made and complete their tables. Safe to run again.

    Example: clipfuse cache merge features/photos
    """
    from clipfuse_cache import FeatureCache
    from clipfuse_cache import merge as library
    from clipfuse_cli.console import note

    tables = library(FeatureCache(o.cache_path(o.project(), path)))
    rows = [
        {
            "name": table.description.name,
            "rows": table.manifest.rows,
            "failed": sum(shard.failed for shard in table.manifest.shards),
            "shards": len(table.manifest.shards),
        }
        for table in tables
    ]
    if json:
        from json import dumps

        print(dumps(rows, indent=1))
    else:
        for row in rows:
            broken = f", {row['failed']:,} could not be used" if row["failed"] else ""
            print(f"{row['name']}: complete, {row['rows']:,} rows{broken}, {row['shards']} shards")
    if tables:
        note("for the ledger: run clipfuse extract once more, without a worker's number; it finds nothing to encode")
    else:
        note("nothing to do: no table is unfinished")
