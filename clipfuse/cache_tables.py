"""Finding feature tables: by what a person calls one, and which of an encoder's where none is named."""

from __future__ import annotations

from pathlib import Path

from clipfuse.errors import CacheError, CacheMissing, ConfigError, UnknownName
from clipfuse.registry import did_you_mean
from clipfuse_cache import FeatureCache, TableDescription
from clipfuse_cache.manifest import read_manifest, read_plan

PREFERRED = ("projected", "pooled", "mean", "cls")
"""Which of an encoder's outputs is read where none is named."""
SHORTEST_PREFIX = 6
"""Characters of a fingerprint that have to be given at least."""


def find_folder(cache: FeatureCache, name: str) -> Path:
    """The folder of the one table, finished or not, whose folder name or name is ``name`` or whose fingerprint begins
    with it.

    Raises:
        CacheMissing: the cache holds no table at all.
        UnknownName: none is called so; the message names the nearest.
        ConfigError: several are; the message lists them.
    """
    folders = {path.name: path for path in sorted((cache.root / "tables").glob("*")) if path.is_dir()}
    if not folders:
        raise CacheMissing(f"{cache.root} holds no feature table", "Run clipfuse extract to make one")
    if name in folders:
        return folders[name]
    about = {path: read_description(path) for path in folders.values()}
    named = {path: known for path, known in about.items() if known is not None}
    found = [path for path, known in named.items() if known.name == name]
    if not found and len(name) >= SHORTEST_PREFIX:
        found = [path for path, known in named.items() if known.fingerprint.startswith(name.lower())]
    if not found:
        names = {named[path].name if path in named else path.name for path in about}
        raise UnknownName(f"{cache.root} holds no feature table {name!r}", did_you_mean(name, names))
    if len(found) > 1:
        listed = ", ".join(f"{named[path].name} {named[path].fingerprint[:12]}" for path in found)
        raise ConfigError(f"{name!r} is several tables: {listed}", "Give the fingerprint of one")
    return found[0]


def read_description(folder: Path) -> TableDescription | None:
    """What the manifest or the plan in a table's folder says that it is; None where neither can be read."""
    for read in (read_manifest, read_plan):
        try:
            found = read(folder)
        except CacheError:
            continue
        if found is not None:
            return found.table
    return None
