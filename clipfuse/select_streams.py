"""Which feature tables a fusion reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from shlex import quote

import numpy as np
import torch

from clipfuse.cache_tables import PREFERRED
from clipfuse.encoders.spec import tokens_of
from clipfuse.errors import ConfigError, DataError
from clipfuse.fusions import modalities_read
from clipfuse.registry import did_you_mean
from clipfuse.select_views import select_views
from clipfuse.stream_tables import StreamTables
from clipfuse.streams import Streams
from clipfuse.table_streams import CAPTIONS, NUMBERS, TableStreams, caption_width
from clipfuse.train_config import StreamConfig, TrainConfig
from clipfuse_cache import CacheMissing, FeatureCache, Features, FeatureTable, Samples
from clipfuse_cache.fingerprint import difference, rows_digest
from clipfuse_cache.manifest import IDENTITY


def select_streams(cache: FeatureCache, config: TrainConfig) -> StreamTables:
    """The feature tables that ``config.fusion`` reads, with the views that training draws from, and what it reads of
    the table itself.

    Where a modality has one encoder it is taken; where it has several they must be named. A modality's second encoder
    is stream "image-2".

    Raises:
        CacheMissing: no complete table of a modality, or of a view, that is needed, or no numbers or captions.
        ConfigError: several encoders and none named, several tables of the one named, a name that is not there, or one
            that is there twice.
    """
    tables = cache.tables()
    chosen: dict[str, FeatureTable] = {}
    views: dict[str, tuple[FeatureTable, ...]] = {}
    own = TableStreams()
    for modality in modalities_read(config.fusion, config.modalities):
        if modality == NUMBERS:
            own = replace(own, numbers=_number_columns(cache, config))
            continue
        if modality == CAPTIONS and config.features != "embeddings":
            own = replace(own, caption_bytes=_caption_bytes(cache, config))
            continue
        of_modality = [table for table in tables if table.description.modality == modality]
        plain = [table for table in of_modality if table.description.view == IDENTITY]
        if not plain:
            what = "pictures" if modality == "image" else "captions"
            raise CacheMissing(
                f"{cache.root} holds no features of {what}, which fusion {config.fusion.kind} reads",
                f"Run clipfuse extract with an encoder for {what}, or choose another --fusion",
            )
        wanted: StreamConfig = getattr(config, modality)
        found: dict[str, FeatureTable] = {}
        for number, name in enumerate(wanted.encoder or (None,), start=1):
            table = _choose(plain, name, wanted.output, modality)
            if any(table.folder == other.folder for other in found.values()):
                problem = f"--{modality}-encoder {name!r} is {table.description.name}, which is named already"
                raise ConfigError(problem, "Name each encoder once")
            found[modality if number == 1 else f"{modality}-{number}"] = table
        chosen |= found
        views |= select_views(of_modality, found, wanted.views, modality)
    if config.average_views and not views:
        raise ConfigError("there are no views to average over", "Name some, for example --image-view flip")
    return StreamTables(chosen, views, own)


def read_streams(tables: StreamTables, ids: Sequence[str], device: str = "cpu") -> Streams:
    """Features of ``ids`` as streams, with their views. Raises RowsMissing, CacheCorrupt."""
    return as_streams({name: (table.take(ids) for table in tables.with_views(name)) for name in tables}, device)


def as_streams(features: Mapping[str, Iterable[Features]], device: str) -> Streams:
    """Streams from what tables hold: stream -> features of its inputs as they are, then of its views. A row that a view
    could not be made of has the input as it is there."""
    values, present, views = {}, {}, {}
    for name, (plain, *others) in features.items():
        values[name] = torch.from_numpy(plain.values).to(device)
        present[name] = torch.from_numpy(plain.valid).to(device)
        seen = [np.where(view.valid[:, None, None], view.values, plain.values) for view in others]
        if seen:
            views[name] = tuple(torch.from_numpy(one).to(device) for one in seen)
    return Streams(values, present, views)


def check_inputs(tables: StreamTables, samples: Samples) -> None:
    """Make sure that features of ``samples`` were made from the pictures and captions that these have now.

    Raises:
        DataError: rows whose input has changed.
        RowsMissing: rows that a table does not hold.
        CacheCorrupt: a shard is damaged.
    """
    for table in tables.every_table():
        digests = samples.input_digests(table.description.modality)
        if table.is_complete_for(rows_digest(samples.ids, digests)):
            continue
        held = table.input_digests()
        missing = [name for name in samples.ids if name not in held]
        changed = [name for name, digest in zip(samples.ids, digests, strict=True) if held.get(name, digest) != digest]
        if missing:
            raise table.rows_missing(missing, len(samples))
        if changed:
            raise DataError(
                f"{len(changed)} rows of {table.folder} were made from other inputs, the first is {changed[0]!r}",
                f"Run {table.description.command.removesuffix(' again')} again",
            )


def _number_columns(cache: FeatureCache, config: TrainConfig) -> tuple[str, ...]:
    names = cache.samples().number_names
    if not names:
        raise CacheMissing(
            f"{cache.root} holds no numbers, which fusion {config.fusion.kind} is to read",
            "Name columns of the table: clipfuse extract --number-column NAME",
        )
    return names


def _caption_bytes(cache: FeatureCache, config: TrainConfig) -> int:
    captions = cache.samples().captions
    if not any(caption is not None for caption in captions):
        raise CacheMissing(
            f"{cache.root} holds no captions, whose words are to be counted (features {config.features})"
        )
    return caption_width(captions)


def _choose(tables: list[FeatureTable], wanted: str | None, wanted_output: str | None, modality: str) -> FeatureTable:
    names = list(dict.fromkeys(table.description.encoder_name for table in tables))
    option = f"--{modality}-encoder"
    if wanted is None and len(names) > 1:
        raise ConfigError(
            f"several {modality} encoders: {', '.join(names)}",
            f"Choose one or more: {option} {quote(names[0])}",
        )
    name = wanted or names[0]
    ends = [full for full in names if full.endswith((f"/{name}", f":{name}"))]
    if name not in names and len(ends) == 1:
        name = ends[0]
    if name not in names:
        raise ConfigError(f"{option} {name!r} is not in the cache", did_you_mean(name, names))
    outputs: dict[str, list[FeatureTable]] = {}  # of an output there is more than one where other settings differ
    backends: dict[str, list[FeatureTable]] = {}
    for table in tables:
        if table.description.encoder_name == name:
            outputs.setdefault(table.description.output, []).append(table)
            backends.setdefault(str(table.description.encoder["backend"]), []).append(table)
    if len(backends) > 1 and wanted_output is None:
        raise ConfigError(
            f"the cache holds several {modality} encoders named {name}, of {' and '.join(backends)}",
            f"Choose an output of one with --{modality}-output ({', '.join(outputs)}),"
            f" or drop the tables of the other: {_drops(table for found in backends.values() for table in found)}",
        )
    output = wanted_output or next((o for o in PREFERRED if o in outputs), next(iter(outputs)))
    if output not in outputs:
        groups = tokens_of(output)
        how = did_you_mean(output, outputs)
        if groups:
            how = (
                f"Run clipfuse extract --encoder {quote(name)} --tokens {groups}, or choose another --{modality}-output"
            )
        raise ConfigError(f"{name} has no output {output!r}", how)
    first, *others = outputs[output]
    if others:
        fields = "; and ".join(difference(first.description.encoder, other.description.encoder) for other in others)
        raise ConfigError(
            f"the cache holds {first.description.name} more than once, made with different settings ({fields})",
            f"See clipfuse cache info, and drop what you don't want: {_drops(outputs[output])}",
        )
    return first


def _drops(tables: Iterable[FeatureTable]) -> str:
    """The commands that delete them, each with what it deletes."""
    abouts = [table.description for table in tables]
    return ", ".join(f"clipfuse cache drop {about.fingerprint[:12]} ({about.name})" for about in abouts)
