"""The tables, pictures and splits that commands find beside a cache, for what they show of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clipfuse.config import ProjectConfig
    from clipfuse.data import Dataset
    from clipfuse.data.split import Split
    from clipfuse_cache import FeatureCache, Samples


def find_dataset(
    project: ProjectConfig, table: Path | None, images: Path | None, samples: Samples | None
) -> Dataset | None:
    """The rows of the table that is named, or of those in clipfuse.toml; None where there are none, or where the latter
    can't be read, which is said. A table that is named is read as that of ``samples`` was.

    Raises:
        ConfigError: pictures are named, and no table.
        DataError: the table or the pictures that are named can't be read.
    """
    from clipfuse.data import concatenate, load_dataset
    from clipfuse.errors import ClipfuseError
    from clipfuse_cli.console import note

    if table is None and images is None and project.data is None:
        return None
    layout = samples.layout if samples is not None and table is not None else {}
    columns = {name: layout.get(name) for name in ("id_column", "image_column", "caption_column")}
    tables = o.loaded_tables(o.with_table(project, table, images, **columns))
    try:
        return concatenate([load_dataset(one) for one in tables])
    except ClipfuseError as error:
        if table is not None or images is not None:
            raise
        note(f"the tables of clipfuse.toml can't be read, so no pictures are shown: {error}")
        return None


def find_kept_split(cache: FeatureCache, name: str | None) -> Split | None:
    """The split of that name, or the newest that divides exactly the cache's rows; None where there is none.

    Raises:
        CacheMissing: there is none of that name.
        CacheCorrupt: it is damaged.
    """
    from clipfuse.errors import CacheMissing
    from clipfuse.splits import read_split

    if name is not None:
        paths = {path.stem: path for path in sorted(cache.splits.glob("*.json"))}
        if name not in paths:
            known = ", ".join(paths) or "none"
            raise CacheMissing(f"{cache.root} has no split {name!r}", f"It has: {known}")
        return read_split(paths[name])
    ids = set(cache.samples().ids)
    whole = (one for one in _kept_splits(cache) if one.method != "cross-validation")
    return next((one for one in whole if {name for role in one.roles.values() for name in role} == ids), None)


def find_split_by_digest(cache: FeatureCache, digest: str) -> Split | None:
    """The split that gives the same rows the same roles; None where the cache keeps none."""
    return next((one for one in _kept_splits(cache) if one.digest == digest), None)


def _kept_splits(cache: FeatureCache) -> Iterator[Split]:
    """Those that can be read, the newest first."""
    from clipfuse.errors import CacheError
    from clipfuse.splits import read_split

    for path in sorted(cache.splits.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            yield read_split(path)
        except CacheError:
            continue
