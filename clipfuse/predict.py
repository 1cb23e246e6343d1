"""From new pictures and captions, or from a cache that holds them, to labels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
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
from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Precision, Storage, find_encoder, tokens_of
from clipfuse.errors import DataError, FingerprintMismatch, TableError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.inputs import Progress, describe_samples, no_progress, row_entry
from clipfuse.run import Run
from clipfuse.select_streams import check_inputs, read_streams
from clipfuse.stream_tables import StreamTables
from clipfuse.streams import Streams
from clipfuse.views import View, find_view
from clipfuse_cache import FeatureCache, TableDescription
from clipfuse_cache.fingerprint import difference


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
        streams, ledger = _read(run, dataset, cache, progress)
    else:
        factories = run_encoders(run, encoders or {})
        options = replace(options, views=run_views(run, word_list))
        with tempfile.TemporaryDirectory(prefix="clipfuse-") as folder:
            streams, ledger = _encode(run, dataset, factories, FeatureCache(Path(folder)), options, progress)
    streams = streams.beside(run.own.read(dataset, "cpu"))
    probabilities = run.predictor().probabilities(streams)
    present = torch.stack(list(streams.present.values()))
    chosen = choose(probabilities, run.thresholds(), empty_rows=run.config.empty_rows)
    return Prediction(probabilities, chosen, ledger, (~present.any(0)).cpu().numpy())


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


def _read(
    run: Run, dataset: Dataset, cache: FeatureCache, progress: Progress
) -> tuple[Streams, tuple[LedgerEntry, ...]]:
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
    return read_streams(tables, dataset.ids), (*dataset.ledger, *unreadable, *failed)


def _encode(
    run: Run,
    dataset: Dataset,
    factories: Mapping[Storage, Sequence[EncoderFactory]],
    cache: FeatureCache,
    options: ExtractOptions,
    progress: Progress,
) -> tuple[Streams, tuple[LedgerEntry, ...]]:
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
    found = read_streams(StreamTables(made, views), dataset.ids)
    values, present, rows = {}, {}, len(dataset)
    for name, stream in run.streams.items():
        if name in made:
            values[name], present[name] = found.values[name], found.present[name]
        else:  # not one row has this modality
            values[name] = torch.zeros(rows, stream.tokens, stream.dim)
            present[name] = torch.zeros(rows, dtype=torch.bool)
    # views of what is not there count, too: the mean over views is the same one whatever other rows have
    absent = {name: tuple(values[name] for _ in those) for name, those in views_read(run).items() if name not in made}
    return Streams(values, present, {**found.views, **absent}), tuple(ledger)


def views_read(run: Run) -> Mapping[str, tuple[TableDescription, ...]]:
    """The tables of views that a prediction needs: training draws from views, but few runs average over them."""
    return run.views if run.config.average_views else {}


def run_tables(run: Run, cache: FeatureCache) -> StreamTables:
    """What a prediction reads of ``cache``. Raises CacheMissing, FingerprintMismatch where it has no such features."""
    plain = {name: cache.table(stream) for name, stream in run.streams.items()}
    views = {name: tuple(map(cache.table, those)) for name, those in views_read(run).items()}
    return StreamTables(plain, views, run.own)


def run_views(run: Run, word_list: Path | None) -> tuple[View, ...]:
    """The views that a prediction averages over. Raises ConfigError where one can't be made as it was."""
    names = {(view.view, str(view.encoder["view"])): None for those in views_read(run).values() for view in those}
    return tuple(find_view(name, settings, word_list) for name, settings in names)


def run_encoders(run: Run, names: Mapping[str, str]) -> dict[Storage, list[EncoderFactory]]:
    """The encoders of the run's streams by how their features are stored, each reduced to what the run reads and
    checked against its fingerprint. ``names``: stream -> encoder name, where its files are no longer where they were.

    Raises:
        DataError: features that were imported.
        FingerprintMismatch, WeightsMissing, EncoderError: see each message.
    """
    wanted: dict[tuple[str, Precision, int | None, Storage], list[TableDescription]] = {}
    for stream, description in run.streams.items():
        if description.is_imported:
            raise DataError(
                f"{run.name} was trained on features that were imported ({description.name}), which nothing here makes",
                "Predict from a cache that holds them for these rows: --cache FOLDER",
            )
        name = names.get(stream, description.encoder_name)
        precision: Precision = description.encoder["precision"]
        storage: Storage = "float32" if description.dtype == "float32" else "float16"
        wanted.setdefault((name, precision, tokens_of(description.output), storage), []).append(description)
    found: dict[Storage, list[EncoderFactory]] = {}
    for (name, precision, tokens, storage), descriptions in wanted.items():
        factory = find_encoder(name, precision=precision, tokens=tokens)
        specs = tuple(_matching_spec(factory, description, storage, run) for description in descriptions)
        found.setdefault(storage, []).append(_Reduced(factory, specs))
    return found


def _matching_spec(factory: EncoderFactory, description: TableDescription, storage: Storage, run: Run) -> EncoderSpec:
    for spec in factory.specs:
        if spec.modality == description.modality:
            if spec.fingerprint(description.output, storage) == description.fingerprint:
                return spec
            fields = difference(spec.fields(description.output, storage), description.encoder)
            raise FingerprintMismatch(
                f"encoder {spec.name} is not the one that {run.name} was trained on ({fields})",
                f"Give that one: --{description.modality}-encoder NAME",
            )
    raise DataError(
        f"encoder {factory.specs[0].name} reads no {description.modality}, which {run.name} was trained on",
        f"Give one that does: --{description.modality}-encoder NAME",
    )


@dataclass(frozen=True)
class _Reduced:
    """A factory that offers only the modalities that a run reads."""

    factory: EncoderFactory
    specs: tuple[EncoderSpec, ...]

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load those of ``specs``."""
        return self.factory.load(device, specs, compiled=compiled)
