"""Reading everything that a cache holds, to find what is not as it was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipfuse_cache.cache import FeatureCache
from clipfuse_cache.errors import CacheError, CacheMissing
from clipfuse_cache.fingerprint import rows_digest
from clipfuse_cache.manifest import Manifest, Plan, ShardEntry, read_manifest, read_plan, shard_file
from clipfuse_cache.samples import Samples
from clipfuse_cache.table import file_size, read_shard
from clipfuse_cache.times import OLD_TIMES, TIMES

Kind = Literal["damaged", "missing", "extra"]
_SHARD = re.compile(r"shard-[0-9]{6,}\.h5")
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp")


@dataclass(frozen=True)
class Problem:
    """A file that is not as it should be.

    Attributes:
        file: its path below the cache's folder.
        kind: "damaged" (not what was written), "missing" (it should be there) or "extra" (a shard that nothing reads).
        what: what is wrong, in words.
    """

    file: str
    kind: Kind
    what: str


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found: how many tables, shards and bytes of shards it read, and what is wrong.

    ``foreign``: files in the tables' folders that the cache did not write, as paths below its folder. They do no harm.
    """

    tables: int
    shards: int
    bytes: int
    problems: tuple[Problem, ...]
    foreign: tuple[str, ...] = ()


def verify(cache: FeatureCache, progress: Callable[[str, int, int], None] | None = None) -> Verification:
    """Read samples and every shard of every table, finished or not, and check them against what was written down.

    Goes on after the first problem, and changes nothing. ``progress(what, done, total)`` is called for every shard.

    Raises:
        CacheMissing: no cache there.
    """
    problems: list[Problem] = []
    foreign: list[str] = []
    samples: Samples | None = None
    try:
        samples = cache.samples()
    except CacheMissing:
        if not (cache.root / "tables").is_dir():
            raise
        problems.append(Problem("samples.h5", "missing", "it says which samples the tables are about"))
    except CacheError as error:
        problems.append(_problem(cache, cache.root / "samples.h5", "damaged", error.problem))
    folders = sorted(path for path in (cache.root / "tables").glob("*") if path.is_dir())
    total = sum(len(list(folder.glob("shard-*.h5"))) for folder in folders)
    shards, size = 0, 0
    for folder in folders:
        for path, kind, what in _check_table(folder, samples):
            if kind == "foreign":
                foreign.append(path.relative_to(cache.root).as_posix())
            elif kind is not None:
                problems.append(_problem(cache, path, kind, what))
            if path.suffix == ".h5" and kind in (None, "damaged"):
                shards, size = shards + 1, size + max(0, file_size(path))
                if progress is not None:
                    progress("checking shards", shards, max(shards, total))
    return Verification(len(folders), shards, size, tuple(problems), tuple(foreign))


def remove_damaged(cache: FeatureCache, found: Verification) -> list[str]:
    """Delete the damaged files that ``found`` names, so that the next extraction makes them again. Returns their names.

    Raises:
        CacheError: a file can't be deleted.
    """
    removed = list(dict.fromkeys(problem.file for problem in found.problems if problem.kind == "damaged"))
    for name in removed:
        try:
            (cache.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"can't delete {cache.root / name}: {error.strerror or error}") from error
    return removed


def _problem(cache: FeatureCache, path: Path, kind: Kind, what: str) -> Problem:
    return Problem(path.relative_to(cache.root).as_posix(), kind, what.removeprefix(f"{path}: "))


def _check_table(folder: Path, samples: Samples | None) -> Iterator[tuple[Path, Kind | Literal["foreign"] | None, str]]:
    """Every shard of a table, every other file that something is wrong with, and files that are not the cache's."""
    manifest: Manifest | None = None
    plan: Plan | None = None
    damaged = []
    try:
        manifest = read_manifest(folder)
    except CacheError as error:
        damaged.append((folder / "manifest.json", error.problem))
    try:
        plan = read_plan(folder)
    except CacheError as error:
        damaged.append((folder / "plan.json", error.problem))
    yield from ((path, "damaged", what) for path, what in damaged)
    if manifest is None and plan is None:  # what the shards should be is not known: the next extraction looks itself
        if not damaged and any(folder.iterdir()):
            yield folder / "manifest.json", "missing", "there is no plan either"
        return
    rows: dict[str, bytes] = {}
    complete = manifest is not None
    entries = _entries(manifest, plan)
    for index, expected in sorted(entries.items()):
        path = folder / shard_file(index)
        if not path.exists():
            if expected is not None:  # a planned one is still to come
                complete = False
                yield path, "missing", f"{expected.rows:,} rows"
            continue
        about = (manifest or plan).table  # type: ignore[union-attr]
        try:
            entry, shard = read_shard(folder, about, index, None if expected is None else expected.sha256)
        except CacheError as error:
            complete = False
            yield path, "damaged", error.problem
            continue
        yield path, None, ""
        rows.update(zip(shard.ids, map(bytes, shard.digests), strict=True))
        if expected not in (None, entry):
            where = folder / ("manifest.json" if manifest and expected in manifest.shards else "plan.json")
            yield where, "damaged", f"what it says of {path.name} is not what that holds"
    if complete and manifest is not None and samples is not None:
        digests = samples.input_digests(manifest.table.modality)
        lacking = [name for name, x in zip(samples.ids, digests, strict=True) if rows.get(name) != x]
        # for other samples the table is not wrong, but behind
        if manifest.inputs == rows_digest(samples.ids, digests) and (lacking or manifest.rows != len(samples)):
            what = f"it says {manifest.rows:,} rows, and {len(lacking):,} of the {len(samples):,} samples are not there"
            yield folder / "manifest.json", "damaged", what
    if not damaged:
        names = {"manifest.json", "plan.json", TIMES, OLD_TIMES, *map(shard_file, entries)}
        for path in sorted(folder.iterdir()):
            # what a writer leaves when it is killed goes with the next one
            if path.name not in names and not _TEMPORARY.fullmatch(path.name):
                yield path, "extra" if _SHARD.fullmatch(path.name) else "foreign", "nothing reads it"


def _entries(manifest: Manifest | None, plan: Plan | None) -> dict[int, ShardEntry | None]:
    """The shards that there may be: index -> what is known of it, None where it is only planned."""
    entries: dict[int, ShardEntry | None] = dict.fromkeys(plan.shards if plan is not None else ())
    for entry in (*(plan.kept if plan is not None else ()), *(manifest.shards if manifest is not None else ())):
        entries[entry.index] = entry
    return entries
