"""What an extraction would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from clipfuse.data.dataset import Dataset, LedgerEntry
from clipfuse.data.pictures import PictureError, decode_picture
from clipfuse.encoders import EncoderFactory
from clipfuse.extract_plan import ExtractOptions, complete_tables, open_writers
from clipfuse.extract_report import broken_parts, table_failures
from clipfuse.extract_wanted import find_wanted
from clipfuse.inputs import Progress, cpu_count, no_progress, row_entry
from clipfuse_cache import FeatureCache, Share
from clipfuse_cache.fingerprint import NO_DIGEST

_BLOCK = 1024  # pictures that are under way at once


@dataclass(frozen=True)
class TablePreview:
    """One feature table as it is and as it would be.

    Attributes:
        name: ENCODER/MODALITY/OUTPUT, and the view.
        tokens, dim: of a row.
        rows: of the data set.
        there: rows that it holds already.
        to_encode: rows that would be encoded.
        absent: rows that have no such input, and would be noted as such.
        shards: that these rows would be written in.
        stale: of those to encode, rows whose input has changed.
        damaged: shard files that would be made again.
    """

    name: str
    tokens: int
    dim: int
    rows: int
    there: int
    to_encode: int
    absent: int
    shards: int
    stale: int
    damaged: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ExtractPreview:
    """What an extraction would do.

    Attributes:
        tables: every output that is asked for.
        ledger: rows and parts that can't be used, as far as reading and decoding tells.
        removed: ids that the cache knows and the table no longer has.
    """

    tables: tuple[TablePreview, ...]
    ledger: tuple[LedgerEntry, ...]
    removed: tuple[str, ...]


def preview_extraction(
    factories: Sequence[EncoderFactory],
    dataset: Dataset,
    cache: FeatureCache,
    options: ExtractOptions,
    progress: Progress = no_progress,
) -> ExtractPreview:
    """Read and decode what would be encoded, and count. Nothing is written, no weights are loaded.

    All workers' shares are counted as one.

    Raises:
        DataError, CacheError, ConfigError: as :func:`clipfuse.extract.extract` does before it encodes.
    """
    options = replace(options, share=Share(0, 1))  # one of several measures nothing, so that it loads no weights
    wanted = find_wanted(factories, dataset, cache, options, progress)
    ids = wanted.samples.ids
    complete = complete_tables(cache, wanted.streams, ids, wanted.digests, options.storage)
    todo = [one for one in wanted.streams if one not in complete]
    writers = open_writers(todo, cache, ids, wanted.digests, options)
    tables, pictures = [], set[int]()
    for one in wanted.streams:
        modality, shape = one.spec.modality, one.spec.shapes[one.output]
        writer = writers.get(one)
        missing = writer.missing() if writer is not None else []
        planned = [row for index in missing for row in writer.rows_of(index)] if writer is not None else []
        rows = [row for row in planned if wanted.digests[modality][row] != NO_DIGEST]
        if modality == "image":
            pictures.update(rows)
        tables.append(
            TablePreview(
                name=one.spec.table_name(one.output),
                tokens=shape.tokens,
                dim=shape.dim,
                rows=len(ids),
                there=len(ids) - len(planned),
                to_encode=len(rows),
                absent=len(planned) - len(rows),
                shards=len(missing),
                stale=len(writer.stale) if writer is not None else 0,
                damaged=writer.damaged if writer is not None else (),
            )
        )
    undecodable = _undecodable(dataset, sorted(pictures), options.threads or cpu_count(), progress)
    known = cache.tables()
    failures = {table.folder: table_failures(table, dataset) for table in known}
    ledger = (*dataset.ledger, *wanted.unreadable, *broken_parts(known, failures, dataset))
    told = {(entry.id, entry.part) for entry in ledger}
    ledger += tuple(entry for entry in undecodable if (entry.id, entry.part) not in told)
    return ExtractPreview(tuple(tables), ledger, wanted.removed)


def _undecodable(dataset: Dataset, rows: Sequence[int], threads: int, progress: Progress) -> list[LedgerEntry]:
    """Pictures of these rows that are there and are none."""

    def problem(row: int) -> str | None:
        picture = dataset.images[row]
        if picture is None:
            return None
        try:
            decode_picture(picture.read())
        except PictureError as error:
            return str(error)
        except OSError:  # told already
            return None
        return None

    found = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            for done, (row, why) in enumerate(zip(block, pool.map(problem, block), strict=True), start=start + 1):
                if why is not None:
                    found.append(row_entry(dataset, row, "image", why))
                progress("decoding pictures", done, len(rows))
    return found
