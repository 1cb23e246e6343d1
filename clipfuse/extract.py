"""Stage one: run frozen encoders once over a data set and keep what they say in the feature cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from clipfuse.data.dataset import Dataset
from clipfuse.encode import encode_pass
from clipfuse.encoders import EncoderFactory, Modality
from clipfuse.extract_plan import (
    ExtractOptions,
    complete_tables,
    group_jobs,
    load_encoders,
    missing_rows,
    open_writers,
    settle_batch_sizes,
)
from clipfuse.extract_report import ExtractReport, TableReport, broken_parts, input_notes, table_failures
from clipfuse.extract_wanted import find_wanted
from clipfuse.inputs import Progress, cpu_count, no_progress
from clipfuse.stage_clock import StageClock
from clipfuse_cache import FeatureCache

__all__ = ["ExtractOptions", "ExtractReport", "TableReport", "extract"]


def extract(
    factories: Sequence[EncoderFactory],
    dataset: Dataset,
    cache: FeatureCache,
    options: ExtractOptions,
    progress: Progress = no_progress,
    make_shards: Callable[[], Mapping[Modality, StageClock]] | None = None,
) -> ExtractReport:
    """Make a feature table complete for ``dataset`` for every output of every encoder.

    Idempotent: rows that a table holds for the same input are left alone, and where nothing is left to do no weights
    are loaded. Killed at any moment and called again, it goes on and ends with the same bytes. Encoders of one
    modality share one pass of reading and decoding.

    ``make_shards``, where there is something to do, makes the shards in other processes and says where their time went
    (see ``run_shares``); what these leave is made here.

    Raises:
        DataError: the data set has nothing that any of the encoders reads, or a picture that was there is gone.
        EncoderError: weights can't be loaded, memory runs out, or features that ``options.storage`` can't hold.
        DiskFull, CacheError: the cache can't be written; complete shards stay.
    """
    wanted = find_wanted(factories, dataset, cache, options, progress)
    samples, digests, streams = wanted.samples, wanted.digests, wanted.streams
    if wanted.is_new:
        cache.write_samples(samples)
    else:
        cache.remove_leftovers()

    tables = complete_tables(cache, streams, samples.ids, digests, options.storage)
    elsewhere, stages = 0.0, dict[Modality, StageClock]()
    todo = [one for one in streams if one not in tables]
    writers = open_writers(todo, cache, samples.ids, digests, options)
    made = missing_rows(writers, options.share)
    lacking = {one: writers[one] for one in made}
    if lacking and make_shards is not None:
        if options.device == "cpu":  # what is settled here binds the others; a GPU's batch size only they can find
            settle_batch_sizes(lacking, {}, options)
            for writer in lacking.values():
                writer.begin()
        started = time.perf_counter()
        stages |= make_shards()
        elsewhere = time.perf_counter() - started
        writers = open_writers(todo, cache, samples.ids, digests, options)
        lacking = {one: writers[one] for one in missing_rows(writers, options.share)}
    started = time.perf_counter()
    encoders = load_encoders(lacking, options, progress)
    load_seconds = time.perf_counter() - started

    started = time.perf_counter()
    settle_batch_sizes(lacking, encoders, options)
    for writer in writers.values():
        writer.begin()
    shards = sum(len(writer.missing(options.share)) for writer in lacking.values())
    for modality, jobs in group_jobs(lacking, encoders):
        encode_pass(
            jobs,
            dataset,
            digests[modality],
            device=options.device,
            threads=options.threads or cpu_count(),
            share=options.share,
            clock=stages.setdefault(modality, StageClock()),
            progress=progress,
        )
    done = {one: TableReport(table, len(samples), 0, (), 0, ()) for one, table in tables.items()}
    if options.share is None:
        for one, writer in writers.items():
            table = writer.commit()
            done[one] = TableReport(table, len(samples), made.get(one, 0), writer.stale, 0, writer.damaged)
    encode_seconds = elsewhere + time.perf_counter() - started

    in_cache = cache.tables()
    failures = {table.folder: table_failures(table, dataset) for table in in_cache}
    reports = [replace(done[one], failed=len(failures[done[one].table.folder])) for one in streams if one in done]
    ledger = (*dataset.ledger, *wanted.unreadable, *broken_parts(in_cache, failures, dataset))
    notes = tuple(input_notes(in_cache, dataset))
    removed = wanted.removed
    return ExtractReport(tuple(reports), ledger, notes, samples, removed, shards, load_seconds, encode_seconds, stages)
