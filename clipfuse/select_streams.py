"""Which feature tables a fusion reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import quote

import torch

from clipfuse.config import StreamConfig, TrainConfig
from clipfuse.errors import ConfigError, DataError
from clipfuse.registry import did_you_mean
from clipfuse.streams import Streams
from clipfuse_cache import CacheMissing, FeatureCache, FeatureTable, Samples
from clipfuse_cache.fingerprint import difference, rows_digest
from clipfuse_cache.manifest import IDENTITY

NEEDS: dict[str, tuple[str, ...]] = {"image": ("image",), "text": ("text",)}
BOTH = ("image", "text")
PREFERRED = ("projected", "pooled", "mean", "cls")
"""Which of an encoder's outputs is read where none is named."""


def select_streams(cache: FeatureCache, config: TrainConfig) -> dict[str, FeatureTable]:
    """Stream name -> feature table, for what ``config.fusion`` reads.

    Where a modality has one encoder it is taken; where it has several one must be named.

    Raises:
        CacheMissing: no complete table of a modality that the fusion needs.
        ConfigError: several encoders and none named, several tables of the one named, or a name that is not there.
    """
    tables = cache.tables()
    chosen = {}
    for modality in NEEDS.get(config.fusion.kind, BOTH):
        of_modality = [
            table for table in tables if (table.description.modality, table.description.view) == (modality, IDENTITY)
        ]
        if not of_modality:
            what = "pictures" if modality == "image" else "captions"
            raise CacheMissing(
                f"{cache.root} holds no features of {what}, which fusion {config.fusion.kind} reads",
                f"Run clipfuse extract with an encoder for {what}, or choose another --fusion",
            )
        chosen[modality] = _choose(of_modality, getattr(config, modality), modality)
    return chosen


def read_streams(tables: Mapping[str, FeatureTable], ids: Sequence[str], device: str = "cpu") -> Streams:
    """Features of ``ids`` as streams. Raises RowsMissing, CacheCorrupt."""
    values, present = {}, {}
    for name, table in tables.items():
        features = table.take(ids)
        values[name] = torch.from_numpy(features.values).to(device)
        present[name] = torch.from_numpy(features.valid).to(device)
    return Streams(values, present)


def check_inputs(tables: Mapping[str, FeatureTable], samples: Samples) -> None:
    """Make sure that features of ``samples`` were made from the pictures and captions that these have now.

    Raises:
        DataError: rows whose input has changed.
        RowsMissing: rows that a table does not hold.
        CacheCorrupt: a shard is damaged.
    """
    for table in tables.values():
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


def _choose(tables: list[FeatureTable], wanted: StreamConfig, modality: str) -> FeatureTable:
    names = list(dict.fromkeys(table.description.encoder_name for table in tables))
    option = f"--{modality}-encoder"
    if wanted.encoder is None and len(names) > 1:
        raise ConfigError(f"several {modality} encoders: {', '.join(names)}", f"Choose one: {option} {quote(names[0])}")
    name = wanted.encoder or names[0]
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
    if len(backends) > 1 and wanted.output is None:
        raise ConfigError(
            f"the cache holds several {modality} encoders named {name}, of {' and '.join(backends)}",
            f"Choose an output of one with --{modality}-output ({', '.join(outputs)}),"
            f" or drop the tables of the other: {_drops(table for found in backends.values() for table in found)}",
        )
    output = wanted.output or next((o for o in PREFERRED if o in outputs), next(iter(outputs)))
    if output not in outputs:
        raise ConfigError(f"{name} has no output {output!r}", did_you_mean(output, outputs))
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
