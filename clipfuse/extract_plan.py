"""What an extraction has to make: feature tables, their writers, encoders, batch sizes, and who can share a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Modality, Precision, Storage
from clipfuse.errors import ConfigError
from clipfuse.inputs import Progress, cpu_count
from clipfuse.machine import device_name, library_versions
from clipfuse.precision import settle_precision
from clipfuse.probe import default_batch_size, largest_batch
from clipfuse.shard_work import EncodeJob
from clipfuse.views import View
from clipfuse_cache import FeatureCache, FeatureTable, Share, TableWriter
from clipfuse_cache.columns import Digests
from clipfuse_cache.fingerprint import rows_digest

MODALITIES: tuple[Modality, ...] = ("image", "text")
READ_AHEAD = 2
"""Batches that are prepared beyond those that threads are at work on."""


@dataclass(frozen=True)
class ExtractOptions:
    """How to extract. Of these ``storage`` and ``precision`` are part of a table's fingerprint, and views are tables
    of their own; the others change the features by rounding at most.

    Attributes:
        device: "cpu" or "cuda".
        storage: dtype of the features on disk.
        precision: what forward passes compute in; "auto" is settled once for each table (see ``settle_precision``),
            None takes each encoder's own.
        shard_rows: rows of a shard; a kill loses the shards in flight.
        batch_size: rows of one forward pass, captions counted as 32 tokens each; None finds it. An interrupted
            extraction goes on with the size that it was planned with, unless one is given here.
        compiled: compile the forward passes, which takes a minute and makes them faster afterwards. An interrupted
            extraction goes on as it was planned.
        threads: threads that read, decode and transform; None takes one per processor.
        views: variants of the inputs to encode beside the inputs as they are.
        share: this process's part of the shards, where several processes or machines work on one cache.
    """

    device: str = "cpu"
    storage: Storage = "float16"
    precision: Precision | Literal["auto"] | None = None
    shard_rows: int = 2048
    batch_size: int | None = None
    compiled: bool = False
    threads: int | None = None
    views: tuple[View, ...] = ()
    share: Share | None = None


@dataclass(frozen=True, eq=False)
class WantedStream:
    """One output of one encoder for one view that is to be extracted. ``base``: the factory's spec, its precision
    settled; ``spec``: the same with the view."""

    factory: EncoderFactory
    base: EncoderSpec
    spec: EncoderSpec
    view: View | None
    output: str


def wanted_streams(
    factories: Sequence[EncoderFactory],
    digests: Mapping[Modality, Digests],
    cache: FeatureCache,
    options: ExtractOptions,
) -> list[WantedStream]:
    """Every output that has something to read; an encoder that is asked for under two names counts once.

    Raises:
        ConfigError: a view of something that none of the encoders reads.
    """
    rows = {modality: those.count_distinct() for modality, those in digests.items()}
    readable = {spec.modality for factory in factories for spec in factory.specs}
    useless = next((view for view in options.views if view.modality not in readable), None)
    if useless is not None:
        inputs = "pictures" if useless.modality == "image" else "captions"
        raise ConfigError(
            f"view {useless.name} changes {inputs}, which none of these encoders reads",
            f"Leave that --view out, or add an encoder of {inputs}",
        )
    found: dict[str, WantedStream] = {}
    for factory in factories:
        specs = [spec for spec in factory.specs if rows[spec.modality]]
        if options.precision == "auto":
            specs = settle_precision(
                factory, specs, rows, cache, options.storage, options.device, alone=options.share is None
            )
        elif options.precision is not None:
            specs = [replace(spec, precision=options.precision) for spec in specs]
        for base in specs:
            for view in (None, *(view for view in options.views if view.modality == base.modality)):
                spec = base if view is None else replace(base, view=view.name, view_settings=view.settings())
                for output in spec.outputs:
                    one = WantedStream(factory, base, spec, view, output)
                    found.setdefault(spec.fingerprint(output, options.storage), one)
    return list(found.values())


def complete_tables(
    cache: FeatureCache,
    streams: Sequence[WantedStream],
    ids: Sequence[str],
    digests: Mapping[Modality, Sequence[bytes]],
    storage: Storage,
) -> dict[WantedStream, FeatureTable]:
    """The tables that hold every one of these rows already; found, and told of the rows, without loading weights."""
    inputs = {modality: rows_digest(ids, digests[modality]) for modality in digests}
    known = {table.description.fingerprint: table for table in cache.tables()}
    found = {}
    for one in streams:
        table = known.get(one.spec.fingerprint(one.output, storage))
        # an untidy one is complete too, but for what a kill left: its writer finishes that
        if table is not None and table.is_complete_for(inputs[one.spec.modality]) and not table.is_untidy:
            found[one] = table
    return found


def open_writers(
    streams: Sequence[WantedStream],
    cache: FeatureCache,
    ids: Sequence[str],
    digests: Mapping[Modality, Sequence[bytes]],
    options: ExtractOptions,
) -> dict[WantedStream, TableWriter]:
    """A writer for each stream's table, with the plan that is on disk or a new one. Raises CacheError."""
    provenance = {"device": device_name(options.device), "libraries": library_versions()}
    return {
        one: cache.writer(
            one.spec.describe(one.output, options.storage, provenance),
            ids,
            digests[one.spec.modality],
            shard_rows=options.shard_rows,
            batch_size=options.batch_size or default_batch_size(one.spec.pixels),
            compiled=options.compiled,
        )
        for one in streams
    }


def missing_rows(writers: Mapping[WantedStream, TableWriter], share: Share | None) -> dict[WantedStream, int]:
    """How many rows the missing shards of each table have, in this share of the work; tables that lack none are left
    out."""
    rows = {one: sum(len(writer.rows_of(index)) for index in writer.missing(share)) for one, writer in writers.items()}
    return {one: count for one, count in rows.items() if count}


def load_encoders(
    writers: Mapping[WantedStream, TableWriter], options: ExtractOptions, progress: Progress
) -> dict[WantedStream, Encoder]:
    """The encoders of these streams, each model's weights loaded once. Raises EncoderError."""
    found: dict[WantedStream, Encoder] = {}
    for factory in {id(one.factory): one.factory for one in writers}.values():
        for compiled in (False, True):
            those = [
                one for one, writer in writers.items() if one.factory is factory and writer.plan.compiled == compiled
            ]
            if those:
                specs = list(dict.fromkeys(one.base for one in those))
                progress(f"loading {specs[0].name}", 0, 0)
                encoders = {each.spec: each for each in factory.load(options.device, specs, compiled=compiled)}
                found |= {one: encoders[one.base] for one in those}
    return found


def settle_batch_sizes(
    writers: Mapping[WantedStream, TableWriter], encoders: Mapping[WantedStream, Encoder], options: ExtractOptions
) -> None:
    """Decide on a batch size for what has none planned yet: one for all encoders of a modality, to share a pass."""
    for modality in MODALITIES:
        those = [one for one in writers if one.spec.modality == modality]
        if options.batch_size is not None:
            size = options.batch_size
        else:
            those = [one for one in those if not writers[one].resumes]
            if options.device != "cpu":
                # each task prepares a batch for every encoder and view
                jobs = len({(one.base, one.view) for one in those})
                ahead = ((options.threads or cpu_count()) + READ_AHEAD) * jobs
                distinct = {id(encoders[one]): encoders[one] for one in those}
                sizes = [largest_batch(encoder, options.device, ahead) for encoder in distinct.values()]
            else:
                sizes = [default_batch_size(one.spec.pixels) for one in those]
            size = min(sizes, default=1)
        for one in those:
            if writers[one].plan.batch_size != size:
                writers[one].replan(size)


def group_jobs(
    writers: Mapping[WantedStream, TableWriter], encoders: Mapping[WantedStream, Encoder]
) -> list[tuple[Modality, list[EncodeJob]]]:
    """What can share a pass. An encoder has one job for each view, or several where its tables have come to be planned
    differently (one of them was lost, say)."""
    jobs: dict[tuple[Encoder, EncoderSpec, tuple[object, ...]], EncodeJob] = {}
    for one, writer in writers.items():
        job = EncodeJob(encoders[one], one.spec, one.view, {one.output: writer})
        key = (encoders[one], one.spec, job.plan_key)
        jobs[key] = jobs[key].with_writers(job.writers) if key in jobs else job
    groups: dict[tuple[Modality, tuple[object, ...]], list[EncodeJob]] = {}
    for job in jobs.values():
        groups.setdefault((job.spec.modality, job.plan_key), []).append(job)
    return [(modality, group) for (modality, _), group in groups.items()]
