"""The cache of one data set: samples, feature tables, splits."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from shlex import quote

from clipfuse_cache.atomic import remove_stale_temporaries
from clipfuse_cache.errors import CacheMissing, FingerprintMismatch
from clipfuse_cache.fingerprint import difference
from clipfuse_cache.manifest import TableDescription, is_done, read_manifest, read_plan
from clipfuse_cache.samples import Samples, read_samples, write_samples
from clipfuse_cache.table import FeatureTable
from clipfuse_cache.writer import TableWriter


class FeatureCache:
    """A directory: ``samples.h5``, ``tables/KEY/``, ``splits/NAME.json``, ``ledger.jsonl``.

    It knows fingerprints, never models. Constructing reads nothing.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)

    @property
    def splits(self) -> Path:
        """The folder of the named splits."""
        return self.root / "splits"

    @property
    def ledger(self) -> Path:
        """The list of rows and parts that could not be used, one JSON object a line."""
        return self.root / "ledger.jsonl"

    def samples(self) -> Samples:
        """The samples. Raises CacheMissing where this is no cache, CacheCorrupt where it is damaged."""
        return read_samples(self.root / "samples.h5")

    def write_samples(self, samples: Samples) -> None:
        """Replace the samples atomically; leftovers go first."""
        self.remove_leftovers()
        write_samples(self.root / "samples.h5", samples)

    def remove_leftovers(self) -> None:
        """Remove what dead writers left, of complete tables, too: those may never be written again."""
        for folder in (self.root, *(self.root / "tables").glob("*")):
            remove_stale_temporaries(folder)

    def tables(self) -> list[FeatureTable]:
        """The complete feature tables, ordered by name. Raises CacheCorrupt where a manifest is damaged."""
        folders = sorted(path.parent for path in (self.root / "tables").glob("*/manifest.json"))
        return [FeatureTable.open(folder) for folder in folders]

    def unfinished(self) -> list[Path]:
        """Folders of tables whose extraction was begun and not finished."""
        folders = sorted(path.parent for path in (self.root / "tables").glob("*/plan.json"))
        return [folder for folder in folders if is_unfinished(folder)]

    def table(self, wanted: TableDescription) -> FeatureTable:
        """The table with ``wanted``'s fingerprint.

        Raises:
            FingerprintMismatch: only tables of that name with other settings; the message names the fields.
            CacheMissing: nothing of that name.
        """
        tables = self.tables()
        for table in tables:
            if table.description.fingerprint == wanted.fingerprint:
                return table
        for table in tables:
            if table.description.name == wanted.name:
                fields = difference(wanted.encoder, table.description.encoder)
                raise FingerprintMismatch(
                    f"{self.root} holds {wanted.name} made with other settings ({fields})",
                    f"Run clipfuse extract --encoder {quote(wanted.encoder_name)} into it",
                )
        raise CacheMissing(
            f"{self.root} holds no {wanted.name}", f"Run clipfuse extract --encoder {quote(wanted.encoder_name)}"
        )

    def has_begun(self, fingerprint: str) -> bool:
        """Whether the table with this fingerprint is here, complete or not."""
        return any((self.root / "tables").glob(f"*-{fingerprint[:12]}/*.json"))

    def writer(
        self,
        description: TableDescription,
        ids: Sequence[str],
        digests: Sequence[bytes],
        *,
        shard_rows: int,
        batch_size: int,
        compiled: bool = False,
    ) -> TableWriter:
        """A writer for the table with this fingerprint, whatever name it was first made under."""
        folder = self.root / "tables" / description.key
        for other in (self.root / "tables").glob(f"*-{description.fingerprint[:12]}"):
            known = read_manifest(other) or read_plan(other)
            if known is not None and known.table.fingerprint == description.fingerprint:
                folder = other
        return TableWriter.open(
            folder, description, ids, digests, shard_rows=shard_rows, batch_size=batch_size, compiled=compiled
        )


def is_unfinished(folder: Path) -> bool:
    """Whether an extraction was begun in a table's folder and not finished. Raises CacheCorrupt."""
    plan, manifest = read_plan(folder), read_manifest(folder)
    return plan is not None and not is_done(plan, manifest)
