"""What a feature cache holds, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipfuse.splits import read_split
from clipfuse_cache import FeatureCache, FeatureTable, Samples
from clipfuse_cache.fingerprint import rows_digest


def describe_cache(cache: FeatureCache) -> dict[str, Any]:
    """Samples, tables, splits and unfinished work. Reads every shard once or twice, so damage shows.

    Raises:
        CacheMissing: no cache there.
        CacheCorrupt: samples, a manifest or a shard are damaged.
    """
    samples = cache.samples()
    inputs = {modality: rows_digest(samples.ids, samples.input_digests(modality)) for modality in ("image", "text")}
    splits = [read_split(path) for path in sorted(cache.splits.glob("*.json"))]
    return {
        "path": str(cache.root),
        "samples": {
            "rows": len(samples),
            "tables": list(samples.tables),
            "labels": len(samples.label_names),
            "label_names": list(samples.label_names),
            "without_caption": sum(caption is None for caption in samples.captions),
            "without_picture": _without_picture(samples),
        },
        "tables": [_describe_table(table, samples.ids, inputs) for table in cache.tables()],
        "splits": [
            {"name": split.name, "digest": split.digest, **{role: len(ids) for role, ids in split.roles.items()}}
            for split in splits
        ],
        "unfinished": [folder.name for folder in cache.unfinished()],
    }


def _describe_table(table: FeatureTable, ids: Sequence[str], inputs: Mapping[str, str]) -> dict[str, Any]:
    about, shards = table.description, table.manifest.shards
    current = set(ids)
    held = [name for name in table.input_digests() if name in current]
    return {
        "name": about.name,
        "fingerprint": about.fingerprint,
        "dim": about.dim,
        "tokens": about.tokens,
        "dtype": about.dtype,
        "precision": about.encoder["precision"],
        "rows": len(held),
        "shards": len(shards),
        "valid": int(table.take(held).valid.sum()),
        "failed": len(current & table.failures().keys()),
        "bytes": sum(shard.bytes for shard in shards),
        "state": "complete" if table.is_complete_for(inputs[about.modality]) else "behind: run clipfuse extract",
        "provenance": dict(about.provenance),
        "encoder": dict(about.encoder),
    }


def _without_picture(samples: Samples) -> int:
    return int((~samples.image_digests.any(axis=1)).sum()) if len(samples) else 0
