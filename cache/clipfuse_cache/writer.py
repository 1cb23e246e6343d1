"""Writing a feature table: plan, shards, manifest, in that order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.atomic import remove_stale_temporaries, write_bytes
from clipfuse_cache.columns import take
from clipfuse_cache.errors import CacheCorrupt, CacheError, FingerprintMismatch
from clipfuse_cache.fingerprint import difference, rows_digest
from clipfuse_cache.lock import locked
from clipfuse_cache.manifest import (
    Manifest,
    Plan,
    ShardEntry,
    TableDescription,
    read_manifest,
    read_plan,
    shard_file,
    write_manifest,
    write_plan,
)
from clipfuse_cache.shard import Shard, encode_shard
from clipfuse_cache.share import Share
from clipfuse_cache.table import FeatureTable, file_size, read_shard, shard_entry
from clipfuse_cache.times import ShardTime, note_time

_NO_ROWS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


class TableWriter:
    """Makes one feature table complete for a data set, shard by shard, across kills.

    Usage::

        writer = TableWriter.open(folder, description, ids, digests, shard_rows=2048, batch_size=64)
        writer.begin()
        for index in writer.missing():          # shards that are not on disk yet
            rows = writer.rows_of(index)        # positions in ``ids``
            writer.write(index, Shard(...))
        table = writer.commit()

    Rows that the table already holds for the same input are not planned again; a row with another input digest
    is planned again (``stale``), and so is a row of a shard that is missing or damaged.

    Several processes may work on one table at once, if they want the same rows: the first that begins writes the
    plan, the others take it. Each makes its share of the shards, or all that are missing: whoever comes later writes
    the same bytes again. One of them, or :func:`clipfuse_cache.merge`, commits.
    """

    def __init__(self, folder: Path, plan: Plan, ids: Sequence[str], digests: Sequence[bytes]) -> None:
        self.folder = folder
        self.plan = plan
        self.stale: tuple[str, ...] = ()
        self.damaged: tuple[str, ...] = ()
        self._description = plan.table
        self._manifest = Manifest(plan.table, "", 0, ())
        self._found: Plan | None = None  # plan.json, as far as this writer knows
        self._ids = ids
        self._digests = digests
        self._inputs = rows_digest(ids, digests)
        self._entries: dict[int, ShardEntry] = {}
        self._rows = _NO_ROWS

    @classmethod
    def open(
        cls,
        folder: Path,
        description: TableDescription,
        ids: Sequence[str],
        digests: Sequence[bytes],
        *,
        shard_rows: int,
        batch_size: int,
        compiled: bool = False,
    ) -> TableWriter:
        """Look at what is on disk and decide what is left to do; nothing is written yet.

        An interrupted plan for the same rows goes on with its own ``shard_rows``, ``batch_size`` and ``compiled``.

        Raises:
            FingerprintMismatch: the folder holds a table of other settings.
            CacheCorrupt: its manifest or plan can't be read.
        """
        writer = cls(folder, Plan(description, 0, "", 0, shard_rows, batch_size, compiled), ids, digests)
        writer._look()
        return writer

    def replan(self, batch_size: int) -> None:
        """Go on with another batch size than the interrupted plan's, because there is no memory for that one.

        Call it before :meth:`begin`. Finished shards stay; the rows that are left are planned anew.
        """
        if batch_size != self.plan.batch_size:
            self.plan = replace(self.plan, batch_size=batch_size)
            self._look(follow=False)

    def _look(self, *, follow: bool = True) -> None:
        """``follow``: go on with a plan that is on disk, where it is for these rows."""
        self._manifest = read_manifest(self.folder) or Manifest(self._description, "", 0, ())
        self._found = read_plan(self.folder)
        for known in (self._manifest, self._found):
            if known is not None:
                _check_settings(self.folder, self._description, known.table)
        self.plan = replace(self.plan, table=self._manifest.table, rows=0, rows_digest="", first_shard=0, kept=())
        self.stale = self.damaged = ()
        self._rows = _NO_ROWS
        self._entries = {}
        if FeatureTable(self.folder, self._manifest).is_complete_for(self._inputs):
            self._entries = {entry.index: entry for entry in self._manifest.shards}
        else:
            self._decide(follow=follow)

    def _decide(self, *, follow: bool) -> None:
        found = self._found
        known = {entry.index: entry for entry in (*(found.kept if found else ()), *self._manifest.shards)}
        held: dict[str, bytes] = {}
        for index in sorted(known):
            if not self._take_over(index, known[index].sha256, held):
                self.damaged = (*self.damaged, shard_file(index))
        # past all known ones: what the manifest on disk knows by a name is not replaced by something else
        first = max(*known, -1, found.first_shard - 1 if found else -1) + 1
        wanted = self._plan_missing(held, first)
        fits = found is not None and found == replace(
            found, rows=wanted.rows, rows_digest=wanted.rows_digest, first_shard=wanted.first_shard
        )
        if found is not None and fits and follow:
            # an interrupted plan goes on with its own shard and batch sizes, or the bytes would differ
            self.plan = found
            return
        if found is not None or not self._manifest.shards:
            # the data set or the batch size changed under a plan, or the manifest was lost: keep what was made
            for index in sorted(self._on_disk() - known.keys()):
                if (found is None or index in found.shards) and self._take_over(index, None, held):
                    first = max(first, index + 1)
            wanted = self._plan_missing(held, first)
        self.plan = wanted

    def _take_over(self, index: int, sha256: str | None, held: dict[str, bytes]) -> bool:
        """Build on a shard that is on disk and whole: add its rows to ``held`` (id -> input digest)."""
        found = self._read(index, sha256)
        if found is None:
            return False
        self._entries[index], shard = found
        held.update(zip(shard.ids, map(bytes, shard.digests), strict=True))
        return True

    def _plan_missing(self, held: dict[str, bytes], first: int) -> Plan:
        """A plan for the rows whose input is not the one in ``held``."""
        rows = zip(self._ids, self._digests, strict=True)
        wanted = np.fromiter((held.get(name) != digest for name, digest in rows), np.bool_, len(self._ids))
        self._rows = np.flatnonzero(wanted)
        self.stale = tuple(name for name, lacks in zip(self._ids, wanted, strict=True) if lacks and name in held)
        committed = {entry.index for entry in self._manifest.shards}
        return replace(
            self.plan,
            rows=len(self._rows),
            rows_digest=rows_digest(compress(self._ids, wanted), compress(self._digests, wanted)),
            first_shard=first,
            kept=tuple(entry for index, entry in sorted(self._entries.items()) if index not in committed),
        )

    def _on_disk(self) -> set[int]:
        names = (path.stem.removeprefix("shard-") for path in self.folder.glob("shard-*.h5"))
        return {int(name) for name in names if name.isascii() and name.isdigit()}

    @property
    def resumes(self) -> bool:
        """Whether the plan is one that an earlier or another process has begun."""
        return self._found is not None and self.plan == self._found

    @property
    def new_rows(self) -> int:
        """How many rows the plan holds."""
        return self.plan.rows

    def begin(self) -> None:
        """Write the plan. Do it before the first shard, and before asking what is missing.

        Where another process has begun the same rows since :meth:`open`, its plan is taken: ``plan`` may change.

        Raises:
            CacheError: since :meth:`open` another process has begun to extract other rows into this table.
            DiskFull: the plan could not be written.
        """
        with locked(self.folder):
            remove_stale_temporaries(self.folder)
            manifest = read_manifest(self.folder) or Manifest(self._description, "", 0, ())
            if (read_plan(self.folder), manifest) != (self._found, self._manifest):
                self._look_again()
            if self.plan.rows and self.plan != self._found:
                if write_plan(self.folder, self.plan, replace=self._found is not None):
                    self._found = self.plan
                else:  # there are no locks here, and another process was quicker
                    self._look_again()

    def _look_again(self) -> None:
        before = self._found
        self._look()
        if self._found not in (None, before, self.plan):
            raise self._not_alone()

    def missing(self, share: Share | None = None) -> list[int]:
        """Planned shards, all or those of one worker, that are not on disk, or not as the plan wants them."""
        wanted = [x for x in self.plan.shards if share is None or share.holds(x - self.plan.first_shard)]
        return [index for index in wanted if self._entry_on_disk(index) is None]

    def rows_of(self, index: int) -> list[int]:
        """Positions (in the ids given) of the rows of shard ``index``."""
        return list(map(int, self._rows[self.plan.rows_of(index)]))

    def write(self, index: int, shard: Shard, time: ShardTime | None = None) -> None:
        """Write one planned shard; complete or absent. ``time``: what it took, to be noted beside it.

        Raises:
            DiskFull, CacheError: it could not be written; earlier shards stay.
            CacheError: another process has begun to extract other rows into this table.
            ValueError: the shard does not hold the planned rows in the table's shape and dtype.
        """
        about = self.plan.table
        if not self._is_planned(index, shard):
            raise ValueError(f"shard {index} must hold the planned rows and inputs in their order")
        if shard.values.shape[1:] != (about.tokens, about.dim) or shard.values.dtype != about.dtype:
            raise ValueError(
                f"values are {shard.values.dtype} {shard.values.shape[1:]}, "
                f"the table is {about.dtype} {(about.tokens, about.dim)}"
            )
        data, sha256 = encode_shard(shard, fingerprint=about.fingerprint, index=index)
        if time is not None:
            with locked(self.folder):
                if self._committed() is None:
                    note_time(self.folder, index, time)  # first: so each shard that is there has its time
        with locked(self.folder, shared=True):
            if self._committed() is None:
                write_bytes(self.folder / shard_file(index), data)
                self._entries[index] = shard_entry(index, len(data), sha256, shard)

    def commit(self) -> FeatureTable:
        """Write the manifest, last. Every planned shard must be on disk.

        Raises:
            CacheCorrupt: a planned shard is missing.
            CacheError: another process has begun to extract other rows into this table.
        """
        with locked(self.folder):
            committed = self._committed()
            if committed is not None:
                return FeatureTable(self.folder, committed)
            for index in self.plan.shards:
                self._entries.pop(index, None)  # another worker may have written it since: what is there now counts
                if self._entry_on_disk(index) is None:
                    raise CacheCorrupt(f"{self.folder / shard_file(index)} is missing", "Run clipfuse extract again")
            shards = tuple(self._entries[index] for index in sorted(self._entries))
            manifest = Manifest(self.plan.table, self._inputs, len(self._ids), shards)
            write_manifest(self.folder, manifest)
            kept = {shard_file(entry.index) for entry in shards}
            for path in self.folder.glob("shard-*.h5"):
                if path.name not in kept:
                    path.unlink(missing_ok=True)
            # last: while it is there, there may be something to remove
            (self.folder / "plan.json").unlink(missing_ok=True)
            return FeatureTable(self.folder, manifest)

    def _committed(self) -> Manifest | None:
        """The manifest, if another worker of this plan has written it meanwhile. Raises CacheError where the plan on
        disk is no longer the one that this writer works on."""
        found = read_plan(self.folder)
        if found == self._found:
            return None
        manifest = read_manifest(self.folder)
        if found is None and manifest is not None and manifest.inputs == self._inputs:
            return manifest
        raise self._not_alone()

    def _not_alone(self) -> CacheError:
        return CacheError(
            f"{self.folder}: plan.json is no longer the plan of this extraction; another extraction of other rows, or "
            "with other batches, is at work there",
            "Let it finish and run the same command again; finished shards are kept",
        )

    def _entry_on_disk(self, index: int) -> ShardEntry | None:
        """The entry of a planned shard if its file holds exactly the planned rows."""
        entry = self._entries.get(index)
        if entry is not None and file_size(self.folder / shard_file(index)) == entry.bytes:
            return entry
        found = self._read(index, None)
        if found is None or not self._is_planned(index, found[1]):
            return None
        self._entries[index] = found[0]
        return found[0]

    def _is_planned(self, index: int, shard: Shard) -> bool:
        rows = self.rows_of(index)
        digests = b"".join(take(self._digests, rows))
        return shard.ids == tuple(take(self._ids, rows)) and shard.digests.tobytes() == digests

    def _read(self, index: int, sha256: str | None) -> tuple[ShardEntry, Shard] | None:
        """A shard on disk, or None where it is missing, damaged, foreign or has another SHA-256."""
        try:
            return read_shard(self.folder, self.plan.table, index, sha256)
        except CacheCorrupt:
            return None


def _check_settings(folder: Path, ours: TableDescription, theirs: TableDescription) -> None:
    if ours.fingerprint != theirs.fingerprint:
        raise FingerprintMismatch(
            f"{folder} was made with other settings: {difference(ours.encoder, theirs.encoder)}",
            "Write to another folder, or delete this one",
        )
    mine, other = ((about.tokens, about.dim, about.dtype) for about in (ours, theirs))
    if mine != other:
        raise FingerprintMismatch(
            f"{folder} holds rows of {other} (tokens, dim, dtype), expected {mine}",
            "Write to another folder, or delete this one",
        )
