"""Making tables complete whose shards several workers have made."""

from __future__ import annotations

from pathlib import Path

from clipfuse_cache.cache import FeatureCache
from clipfuse_cache.errors import CacheError
from clipfuse_cache.manifest import read_plan, shard_file
from clipfuse_cache.samples import Samples
from clipfuse_cache.table import FeatureTable
from clipfuse_cache.writer import TableWriter


def merge(cache: FeatureCache) -> list[FeatureTable]:
    """Write the manifest of every unfinished table all of whose planned shards are there, each checked from its bytes.

    Where nothing is unfinished nothing is done. Tables that can be made complete are, also where others can't.

    Returns:
        The tables that have become complete.

    Raises:
        CacheMissing: no cache there.
        CacheError: tables that lack shards, by name and number, or that were planned for other rows than the cache's.
        CacheCorrupt: samples, a manifest or a plan are damaged.
    """
    samples = cache.samples()
    complete: list[FeatureTable] = []
    problems: list[str] = []
    for folder in cache.unfinished():
        found = _complete(folder, samples)
        if isinstance(found, FeatureTable):
            complete.append(found)
        else:
            problems.append(found)
    if problems:
        raise CacheError(
            f"{cache.root}: {'; '.join(problems)}",
            "Let all workers finish, or run clipfuse extract again without --worker-index: it makes what is missing",
        )
    return complete


def _complete(folder: Path, samples: Samples) -> FeatureTable | str:
    """The complete table, or what is in the way."""
    plan = read_plan(folder)
    assert plan is not None  # or it would not be unfinished
    name = f"{plan.table.name} ({folder.name})"
    digests = samples.input_digests(plan.table.modality)
    writer = TableWriter.open(
        folder, plan.table, samples.ids, digests, shard_rows=plan.shard_rows, batch_size=plan.batch_size
    )
    if writer.plan != plan and writer.new_rows:
        damaged = f", and {', '.join(writer.damaged)} are damaged" if writer.damaged else ""
        return f"{name} was planned for other rows than the cache has now{damaged}"
    missing = writer.missing()
    if missing:
        files = ", ".join(map(shard_file, missing[:20])) + (", …" if len(missing) > 20 else "")
        return f"{name} lacks {len(missing)} of {len(plan.shards)} shards ({files})"
    return writer.commit()
