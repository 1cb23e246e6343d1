"""Stage one: run frozen encoders once over a data set and keep what they say in the feature cache."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clipfuse.data.dataset import Dataset, LedgerEntry
from clipfuse.encode import EncodeJob, encode_pass
from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Modality, Storage
from clipfuse.errors import CacheError, DataError
from clipfuse.inputs import Progress, cpu_count, describe_samples, no_progress, row_entry
from clipfuse.machine import device_name, library_versions
from clipfuse_cache import FeatureCache, FeatureTable, Samples, TableWriter
from clipfuse_cache.fingerprint import NO_DIGEST, rows_digest

MODALITIES: tuple[Modality, ...] = ("image", "text")
CPU_PIXELS = 16 * 224 * 224
"""Pixels of a batch on a processor."""

Stream = tuple[EncoderSpec, str]


@dataclass(frozen=True)
class ExtractOptions:
    """How to extract. None of these but ``storage`` is part of a table's fingerprint.

    Attributes:
        device: "cpu" or "cuda".
        storage: dtype of the features on disk.
        shard_rows: rows of a shard; a kill loses the shards in flight.
        batch_size: rows of one forward pass; None chooses by device.
        workers: threads that read, decode and transform; None takes one per processor.
    """

    device: str = "cpu"
    storage: Storage = "float16"
    shard_rows: int = 2048
    batch_size: int | None = None
    workers: int | None = None


@dataclass(frozen=True)
class TableReport:
    """What happened to one feature table: rows it is complete for, encoded now, encoded again because their input
    had changed (their ids), with an input that gave no features, and damaged shards that were made again."""

    table: FeatureTable
    rows: int
    encoded: int
    stale: tuple[str, ...]
    failed: int
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class ExtractReport:
    """What extract did.

    Attributes:
        tables: one report for every output that was asked for.
        ledger: every row and part that could not be used.
        samples: what the cache is about now.
        removed: ids that the cache knew and the table no longer has.
        load_seconds, encode_seconds: wall clock, for the weights and for the rest of stage one.
        forward_seconds: what the forward passes took of it.
    """

    tables: tuple[TableReport, ...]
    ledger: tuple[LedgerEntry, ...]
    samples: Samples
    removed: tuple[str, ...] = ()
    load_seconds: float = 0.0
    encode_seconds: float = 0.0
    forward_seconds: float = 0.0


def extract(
    factories: Sequence[EncoderFactory],
    dataset: Dataset,
    cache: FeatureCache,
    options: ExtractOptions,
    progress: Progress = no_progress,
) -> ExtractReport:
    """Make a feature table complete for ``dataset`` for every output of every encoder.

    Idempotent: rows that a table holds for the same input are left alone, and where nothing is left to do no weights
    are loaded. Killed at any moment and called again, it goes on and ends with the same bytes. Encoders of one
    modality share one pass of reading and decoding.

    Raises:
        DataError: the data set has nothing that any of the encoders reads, or a picture that was there is gone.
        EncoderError: weights can't be loaded, or give values that ``options.storage`` can't hold.
        DiskFull, CacheError: the cache can't be written; complete shards stay.
    """
    previous = cache.samples() if (cache.root / "samples.h5").exists() else None
    removed = () if previous is None else _removed(previous, dataset, cache)
    samples, unreadable = describe_samples(dataset, previous, progress)
    digests = {modality: samples.input_digests(modality) for modality in MODALITIES}
    present = [modality for modality in MODALITIES if any(digest != NO_DIGEST for digest in digests[modality])]
    streams = _distinct_streams(factories, present, options.storage)
    if not streams:
        raise DataError(
            f"these encoders read nothing that the table has ({' and '.join(present) or 'no pictures, no captions'})",
            "Check --images, --image-column and --caption-column",
        )
    cache.write_samples(samples)

    tables = _complete_tables(cache, streams, samples.ids, digests, options.storage)
    done = {stream: TableReport(table, len(samples), 0, (), 0, ()) for stream, table in tables.items()}
    todo = [stream for stream in streams if stream not in done]
    started = time.perf_counter()
    encoders = _load_needed(factories, todo, options, progress)
    load_seconds = time.perf_counter() - started

    started, forward_seconds = time.perf_counter(), 0.0
    jobs = [job for encoder in encoders for job in _open_jobs(encoder, todo, samples.ids, digests, cache, options)]
    groups: dict[tuple[object, ...], list[EncodeJob]] = {}
    for job in jobs:
        groups.setdefault((job.encoder.spec.modality, job.plan_key), []).append(job)
    for group in groups.values():
        modality = group[0].encoder.spec.modality
        workers = options.workers or cpu_count()
        forward_seconds += encode_pass(group, dataset, digests[modality], workers, progress)
    for job in jobs:
        for output, writer in job.writers.items():
            done[job.encoder.spec, output] = TableReport(
                writer.commit(), len(samples), writer.new_rows, writer.stale, 0, writer.damaged
            )
    encode_seconds = time.perf_counter() - started

    reports = [replace(done[stream], failed=len(_failures(done[stream].table, dataset))) for stream in streams]
    broken = _broken_parts(cache.tables(), dataset)
    ledger = (*dataset.ledger, *unreadable, *broken)
    return ExtractReport(tuple(reports), ledger, samples, removed, load_seconds, encode_seconds, forward_seconds)


def _failures(table: FeatureTable, dataset: Dataset) -> dict[str, str]:
    current = set(dataset.ids)
    return {name: why for name, why in table.failures().items() if name in current}


def _broken_parts(tables: Sequence[FeatureTable], dataset: Dataset) -> list[LedgerEntry]:
    """What the cache's encoders could not use, in the order of the rows; said with their names where only some of the
    encoders of a modality could not."""
    encoders: dict[str, set[str]] = {}
    failures: dict[tuple[int, str, str], set[str]] = {}
    rows = {name: row for row, name in enumerate(dataset.ids)}
    for table in tables:
        about = table.description
        encoders.setdefault(about.modality, set()).add(about.encoder_name)
        for name, why in _failures(table, dataset).items():
            failures.setdefault((rows[name], about.modality, why), set()).add(about.encoder_name)
    broken = []
    for (row, modality, why), names in sorted(failures.items()):
        reason = why if names == encoders[modality] else f"{', '.join(sorted(names))}: {why}"
        broken.append(row_entry(dataset, row, "image" if modality == "image" else "text", reason))
    return broken


def _removed(previous: Samples, dataset: Dataset, cache: FeatureCache) -> tuple[str, ...]:
    """Ids that the cache knows and the data set no longer has."""
    now = set(dataset.ids)
    gone = tuple(name for name in previous.ids if name not in now)
    if previous.ids and len(gone) == len(previous.ids):
        raise CacheError(
            f"{cache.root} is about other samples: {len(gone)} of {', '.join(previous.tables)}, none of them here",
            "Name another place with --cache, or delete that one",
        )
    return gone


def _distinct_streams(
    factories: Sequence[EncoderFactory], present: Sequence[Modality], storage: Storage
) -> list[Stream]:
    """Every output that has something to read; an encoder that is asked for under two names counts once."""
    found: dict[str, Stream] = {}
    for factory in factories:
        for spec in factory.specs:
            if spec.modality in present:
                for output in spec.outputs:
                    found.setdefault(spec.fingerprint(output, storage), (spec, output))
    return list(found.values())


def _complete_tables(
    cache: FeatureCache,
    streams: Sequence[Stream],
    ids: Sequence[str],
    digests: Mapping[Modality, Sequence[bytes]],
    storage: Storage,
) -> dict[Stream, FeatureTable]:
    """The tables that hold every one of these rows already; found, and told of the rows, without loading weights."""
    inputs = {modality: rows_digest(ids, digests[modality]) for modality in digests}
    known = {table.description.fingerprint: table for table in cache.tables()}
    found = {}
    for spec, output in streams:
        table = known.get(spec.fingerprint(output, storage))
        if table is None:
            continue
        if not table.is_complete_for(inputs[spec.modality]) or table.is_untidy:
            # rows that were taken out or put in another order need no encoding, nor does what a kill left
            writer = cache.writer(table.description, ids, digests[spec.modality], shard_rows=1, batch_size=1)
            if writer.new_rows:
                continue
            table = writer.commit()
        found[spec, output] = table
    return found


def _load_needed(
    factories: Sequence[EncoderFactory], streams: Sequence[Stream], options: ExtractOptions, progress: Progress
) -> list[Encoder]:
    needed = {spec for spec, _ in streams}
    encoders: list[Encoder] = []
    for factory in factories:
        modalities = [spec.modality for spec in factory.specs if spec in needed]
        if modalities:
            progress(f"loading {factory.specs[0].name}", 0, 0)
            encoders += factory.load(options.device, modalities)
    return encoders


def _open_jobs(
    encoder: Encoder,
    todo: Sequence[Stream],
    ids: Sequence[str],
    digests: Mapping[Modality, Sequence[bytes]],
    cache: FeatureCache,
    options: ExtractOptions,
) -> list[EncodeJob]:
    """One job, or several where its tables have come to be planned differently (one of them was lost, say)."""
    spec = encoder.spec
    batch_size = options.batch_size or _default_batch([each for each, _ in todo], spec.modality, options.device)
    provenance = {"device": device_name(options.device), "libraries": library_versions()}
    jobs: dict[tuple[object, ...], dict[str, TableWriter]] = {}
    for output in (output for wanted, output in todo if wanted is spec):
        writer = cache.writer(
            spec.describe(output, options.storage, encoder.dims[output], provenance),
            ids,
            digests[spec.modality],
            shard_rows=options.shard_rows,
            batch_size=batch_size,
        )
        job = EncodeJob(encoder, {output: writer})
        jobs.setdefault(job.plan_key, {})[output] = writer
    return [EncodeJob(encoder, writers) for writers in jobs.values()]


def _default_batch(specs: Sequence[EncoderSpec], modality: Modality, device: str) -> int:
    """Rows of one forward pass, the same for all encoders of a modality, so that they can share a pass of decoding.

    On a processor a batch that stays in its caches is as fast as a large one, and takes less memory.
    """
    pixels = max((spec.pixels for spec in specs if spec.modality == modality), default=0)
    if device != "cpu":
        return 256
    return min(64, max(8, CPU_PIXELS // pixels)) if pixels else 64
