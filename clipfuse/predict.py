"""From new pictures and captions, or from a cache that holds them, to labels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.choose import choose
from clipfuse.config import TableConfig
from clipfuse.data.dataset import Dataset, LedgerEntry
from clipfuse.data.records import read_table
from clipfuse.encoders import EncoderFactory, Storage
from clipfuse.errors import TableError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.inputs import Progress, describe_samples, no_progress, row_entry
from clipfuse.run import Run
from clipfuse.run_features import run_encoders, run_tables, run_views, views_read
from clipfuse.select_streams import check_inputs
from clipfuse.stream_tables import StreamTables
from clipfuse.streams import Streams
from clipfuse.training.rows_on_disk import block_bounds, locate_rows, read_at, row_bytes
from clipfuse_cache import FeatureCache

MEMORY = 1_000_000_000
"""Bytes that features may take; more are read in blocks."""
_BARE_ROWS = 65_536  # rows at once of what is read of the table itself


@dataclass(frozen=True)
class Prediction:
    """What a run says about a data set.

    Attributes:
        probabilities: (rows, labels) float64.
        chosen: (rows, labels) bool, by the run's thresholds and its rule for empty rows.
        ledger: rows and parts that could not be used; their rows are predicted from what is left.
        without_input: (rows,) bool, rows with nothing that the run reads: their prediction is a constant.
    """

    probabilities: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    ledger: tuple[LedgerEntry, ...]
    without_input: NDArray[np.bool_]


def predict(
    run: Run,
    dataset: Dataset,
    *,
    cache: FeatureCache | None = None,
    encoders: Mapping[str, str] | None = None,
    word_list: Path | None = None,
    options: ExtractOptions,
    progress: Progress = no_progress,
) -> Prediction:
    """Predict every row of ``dataset``.

    Args:
        run: a trained run.
        dataset: pictures, captions and numbers; labels are not looked at.
        cache: read features from there instead of encoding; it must hold every row, with the same inputs.
        encoders: stream ("image", "image-2", ...) -> encoder name, where an encoder's files are no longer where they
            were at training.
        word_list: the synonyms that a view was made with, where those are not the ones that ship.
        options: for encoding; storage, precision and views are those of the run's streams.
        progress: called as work goes on.

    Raises:
        FingerprintMismatch: an encoder, or a table of the cache, is not the one that the run was trained on.
        DataError: rows of the cache were made from other pictures or captions.
        TableError: ``dataset`` lacks a column of numbers that the run reads.
        RowsMissing: rows that the cache does not hold.
        ConfigError: a view that can't be made as it was.
        WeightsMissing, EncoderError, CacheError: see each message.
    """
    lacking = run.own.lacking(dataset)
    if lacking:
        raise TableError(
            f"{run.name} reads column{'s' if len(lacking) > 1 else ''} {', '.join(map(repr, lacking))}, which the table"
            " does not have",
            "Add it; cells may be empty",
        )
    if cache is not None:
        tables, ledger = _check(run, dataset, cache, progress)
        probabilities, without_input = _ask(run, tables, dataset)
    else:
        factories = run_encoders(run, encoders or {})
        options = replace(options, views=run_views(run, word_list))
        with tempfile.TemporaryDirectory(prefix="clipfuse-") as folder:
            tables, ledger = _encode(run, dataset, factories, FeatureCache(Path(folder)), options, progress)
            probabilities, without_input = _ask(run, tables, dataset)
    chosen = choose(probabilities, run.thresholds(), empty_rows=run.config.empty_rows)
    return Prediction(probabilities, chosen, ledger, without_input)


def like_training_table(run: Run, table: Path, images: Path | None, given: Mapping[str, str]) -> TableConfig:
    """How to read ``table``: columns that ``given`` names, then those that the training table had, then by name.

    Raises:
        TableError: the table can't be read.
    """
    layout = run.layout
    there = set(read_table(table).columns)
    columns = {
        "id_column": layout.id_column,
        "image_column": layout.image_column,
        "caption_column": layout.caption_column,
        "label_column": layout.label_column,
    }
    known: dict[str, Any] = {role: name for role, name in columns.items() if name in there}
    if layout.form == "columns" and there.issuperset(run.labels):
        known["label_columns"] = run.labels
    numbers = tuple(name for name in run.own.numbers if name in there)
    if numbers:
        known["number_columns"] = numbers
    if "label_column" in known:
        known["separator"] = layout.separator
    return TableConfig.model_validate({"table": table, "images": images, **known, **given})


def _ask(run: Run, tables: StreamTables, dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(rows, labels) probabilities and (rows,) bool, rows without any input; some rows are in memory at once."""
    predictor = run.predictor()
    probabilities = np.zeros((len(dataset), len(run.labels)))
    without_input = np.zeros(len(dataset), dtype=np.bool_)
    for rows, found in _blocks(tables, dataset.ids):
        streams = _with_absent(run, found, len(rows)).beside(run.own.read(dataset, "cpu", rows))
        probabilities[rows] = predictor.probabilities(streams)
        without_input[rows] = ~torch.stack(list(streams.present.values())).any(0).numpy()
    return probabilities, without_input


def _blocks(tables: StreamTables, ids: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], Streams]]:
    """Numbers of some rows and their features, until each row was there once."""
    if not tables.tables:
        for start in range(0, len(ids), _BARE_ROWS):
            yield np.arange(start, min(start + _BARE_ROWS, len(ids))), Streams({}, {})
        return
    places, order = locate_rows(tables, ids)
    for start, stop in block_bounds(next(iter(places.values()))[0], row_bytes(tables), MEMORY):
        yield order[start:stop], read_at(tables, places, slice(start, stop))


def _with_absent(run: Run, streams: Streams, rows: int) -> Streams:
    """The streams with those that the run reads and no row has."""
    values, present = {}, {}
    for name, stream in run.streams.items():
        there = name in streams.values
        values[name] = streams.values[name] if there else torch.zeros(rows, stream.tokens, stream.dim)
        present[name] = streams.present[name] if there else torch.zeros(rows, dtype=torch.bool)
    # views of what is not there count, too: the mean over views is the same one whatever other rows have
    absent = {
        name: (values[name],) * len(those) for name, those in views_read(run).items() if name not in streams.values
    }
    return Streams(values, present, {**streams.views, **absent})


def _check(
    run: Run, dataset: Dataset, cache: FeatureCache, progress: Progress
) -> tuple[StreamTables, tuple[LedgerEntry, ...]]:
    tables = run_tables(run, cache)
    samples, unreadable = describe_samples(dataset, cache.samples(), progress)
    check_inputs(tables, samples)
    rows = {name: row for row, name in enumerate(dataset.ids)}
    failed = [
        row_entry(dataset, rows[name], table.description.encoder["modality"], why)
        for table in tables.values()
        for name, why in table.failures().items()
        if name in rows
    ]
    return tables, (*dataset.ledger, *unreadable, *failed)


def _encode(
    run: Run,
    dataset: Dataset,
    factories: Mapping[Storage, Sequence[EncoderFactory]],
    cache: FeatureCache,
    options: ExtractOptions,
    progress: Progress,
) -> tuple[StreamTables, tuple[LedgerEntry, ...]]:
    there = {"image": any(dataset.images), "text": any(dataset.captions)}
    useful = {
        storage: those
        for storage, those in factories.items()
        if any(there[spec.modality] for factory in those for spec in factory.specs)
    }
    reports = []
    for storage, those in (useful or factories).items():  # where none is, extract says so
        read = {spec.modality for factory in those for spec in factory.specs}
        useful_views = tuple(view for view in options.views if view.modality in read)
        storing = replace(options, storage=storage, views=useful_views)
        reports.append(extract(those, dataset, cache, storing, progress))
    by_fingerprint = {one.table.description.fingerprint: one.table for report in reports for one in report.tables}
    ledger = dict.fromkeys([*dataset.ledger, *(entry for report in reports for entry in report.ledger)])
    made = {name: by_fingerprint[s.fingerprint] for name, s in run.streams.items() if s.fingerprint in by_fingerprint}
    views = {
        name: tuple(by_fingerprint[view.fingerprint] for view in those)
        for name, those in views_read(run).items()
        if name in made
    }
    return StreamTables(made, views), tuple(ledger)
