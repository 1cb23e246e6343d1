"""clipfuse's feature cache: numpy and h5py only, usable alone to read features anywhere.

::

    from clipfuse_cache import FeatureCache

    cache = FeatureCache(Path("features/photos"))
    samples = cache.samples()
    for table in cache.tables():
        values, valid = table.take(samples.ids)     # (rows, tokens, dim), (rows,)
"""

from clipfuse_cache.cache import FeatureCache
from clipfuse_cache.errors import (
    CacheCorrupt,
    CacheError,
    CacheMissing,
    ClipfuseError,
    DiskFull,
    FingerprintMismatch,
    RowsMissing,
)
from clipfuse_cache.manifest import Manifest, Plan, ShardEntry, TableDescription
from clipfuse_cache.merge import merge
from clipfuse_cache.samples import Samples
from clipfuse_cache.shard import Shard
from clipfuse_cache.share import Share
from clipfuse_cache.table import Features, FeatureTable, Places
from clipfuse_cache.times import ShardTime
from clipfuse_cache.writer import TableWriter

__all__ = [
    "CacheCorrupt",
    "CacheError",
    "CacheMissing",
    "ClipfuseError",
    "DiskFull",
    "FeatureCache",
    "FeatureTable",
    "Features",
    "FingerprintMismatch",
    "Manifest",
    "Places",
    "Plan",
    "RowsMissing",
    "Samples",
    "Shard",
    "ShardEntry",
    "ShardTime",
    "Share",
    "TableDescription",
    "TableWriter",
    "merge",
]
