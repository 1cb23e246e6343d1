"""What an extraction did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

from clipfuse.data.dataset import Dataset, LedgerEntry, Part
from clipfuse.data.ledger import InputNote
from clipfuse.encoders import Modality
from clipfuse.inputs import row_entry
from clipfuse.stage_clock import StageClock
from clipfuse_cache import FeatureTable, Samples
from clipfuse_cache.columns import places_of


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
        tables: one report for every output that was asked for; of a ``share`` only those that were complete before.
        ledger: every row and part that could not be used.
        notes: what was done to inputs that could.
        samples: what the cache is about now.
        removed: ids that the cache knew and the table no longer has.
        shards: shards that this call wrote.
        load_seconds, encode_seconds: wall clock, for the weights and for the rest of stage one.
        stages: where the time of the passes went, by modality.
    """

    tables: tuple[TableReport, ...]
    ledger: tuple[LedgerEntry, ...]
    notes: tuple[InputNote, ...]
    samples: Samples
    removed: tuple[str, ...] = ()
    shards: int = 0
    load_seconds: float = 0.0
    encode_seconds: float = 0.0
    stages: Mapping[Modality, StageClock] = field(default_factory=dict)


def table_failures(table: FeatureTable, dataset: Dataset) -> dict[str, str]:
    """id -> reason, of the data set's rows whose input gave no features. Raises CacheCorrupt."""
    failures = table.failures()
    there = places_of(dataset.ids).find(list(failures)) >= 0 if failures else ()
    return dict(compress(failures.items(), there))


def broken_parts(
    tables: Sequence[FeatureTable], of_table: Mapping[Path, Mapping[str, str]], dataset: Dataset
) -> list[LedgerEntry]:
    """What the cache's encoders could not use, in the order of the rows; said with their names where only some of the
    encoders of a modality could not."""
    encoders = _encoders(tables)
    failures: dict[tuple[int, str, str], set[str]] = {}
    for table in tables:
        about, of_row = table.description, of_table[table.folder]
        rows = places_of(dataset.ids).find(list(of_row)).tolist() if of_row else ()
        for row, why in zip(rows, of_row.values(), strict=True):
            failures.setdefault((row, about.modality, why), set()).add(about.encoder_name)
    broken = []
    for (row, modality, why), names in sorted(failures.items()):
        reason = why if names == encoders[modality] else f"{', '.join(sorted(names))}: {why}"
        broken.append(row_entry(dataset, row, "image" if modality == "image" else "text", reason))
    return broken


def input_notes(tables: Sequence[FeatureTable], dataset: Dataset) -> list[InputNote]:
    """What was done to the data set's inputs, counted; said with the encoder's name where others of its modality did
    not do it to the same rows."""
    encoders = _encoders(tables)
    rows: dict[tuple[str, str], dict[str, set[str]]] = {}
    for table in tables:
        about, of_row = table.description, table.notes()
        there = places_of(dataset.ids).find(list(of_row)) >= 0 if of_row else ()
        for name, notes in compress(of_row.items(), there):
            for note in notes:
                rows.setdefault((about.modality, note), {}).setdefault(about.encoder_name, set()).add(name)
    found = []
    for (modality, note), of_encoder in sorted(rows.items()):
        part: Part = "image" if modality == "image" else "text"
        first, *others = of_encoder.values()
        if of_encoder.keys() == encoders[modality] and all(other == first for other in others):
            found.append(InputNote(part, note, len(first)))
        else:
            found += [InputNote(part, note, len(names), encoder) for encoder, names in sorted(of_encoder.items())]
    return found


def _encoders(tables: Sequence[FeatureTable]) -> dict[str, set[str]]:
    """Modality -> names of the encoders that have tables of it."""
    found: dict[str, set[str]] = {}
    for table in tables:
        found.setdefault(table.description.modality, set()).add(table.description.encoder_name)
    return found
