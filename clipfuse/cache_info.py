"""What a feature cache holds, as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipfuse.cache_tables import read_description
from clipfuse.splits import read_split
from clipfuse_cache import CacheError, FeatureCache, FeatureTable, Samples, TableDescription
from clipfuse_cache.cache import is_unfinished
from clipfuse_cache.fingerprint import rows_digest
from clipfuse_cache.table import file_size


def describe_cache(cache: FeatureCache) -> dict[str, Any]:
    """Samples, tables, splits and unfinished work. Reads every shard, so damage shows: in its table's state.

    Raises:
        CacheMissing: no cache there.
        CacheCorrupt: samples or a split are damaged.
    """
    samples = cache.samples()
    inputs = {modality: rows_digest(samples.ids, samples.input_digests(modality)) for modality in ("image", "text")}
    splits = [read_split(path) for path in sorted(cache.splits.glob("*.json"))]
    tables, unfinished = [], []
    for folder in sorted(path for path in (cache.root / "tables").glob("*") if path.is_dir()):
        try:
            if is_unfinished(folder):
                unfinished.append(folder.name)
            if (folder / "manifest.json").exists():
                tables.append(_describe_table(FeatureTable.open(folder), samples.ids, inputs))
        except CacheError:
            tables.append(_describe_damaged(folder))
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
        "tables": tables,
        "splits": [
            {"name": split.name, "digest": split.digest, **{role: len(ids) for role, ids in split.roles.items()}}
            for split in splits
        ],
        "unfinished": unfinished,
    }


def _describe_table(table: FeatureTable, ids: Sequence[str], inputs: Mapping[str, str]) -> dict[str, Any]:
    about, shards = table.description, table.manifest.shards
    current = set(ids)
    valid = {name: ok for shard in table.shards() for name, ok in zip(shard.ids, shard.valid.tolist(), strict=True)}
    held = current & valid.keys()
    notes = Counter(note for name, words in table.notes().items() if name in current for note in words)
    return {
        **_describe(about),
        "folder": table.folder.name,
        "rows": len(held),
        "shards": len(shards),
        "valid": sum(valid[name] for name in held),
        "failed": len(current & table.failures().keys()),
        "notes": dict(sorted(notes.items())),
        "bytes": sum(shard.bytes for shard in shards),
        "state": "complete" if table.is_complete_for(inputs[about.modality]) else f"behind: run {about.command}",
    }


def _describe_damaged(folder: Path) -> dict[str, Any]:
    """What can be said without reading what is damaged."""
    about = read_description(folder)
    return {
        **(_describe(about) if about is not None else dict.fromkeys(_DESCRIPTION)),
        "name": about.name if about is not None else folder.name,
        "folder": folder.name,
        **dict.fromkeys(("rows", "shards", "valid", "failed")),
        "notes": {},
        "bytes": sum(max(0, file_size(path)) for path in folder.glob("shard-*.h5")),
        "state": "damaged: run clipfuse cache verify",
    }


_DESCRIPTION = ("name", "fingerprint", "dim", "tokens", "dtype", "precision", "provenance", "encoder")


def _describe(about: TableDescription) -> dict[str, Any]:
    values = (about.name, about.fingerprint, about.dim, about.tokens, about.dtype, about.encoder["precision"])
    return dict(zip(_DESCRIPTION, (*values, dict(about.provenance), dict(about.encoder)), strict=True))


def _without_picture(samples: Samples) -> int:
    return int((~samples.image_digests.any(axis=1)).sum()) if len(samples) else 0
