"""From pictures and captions to streams at once, encoders in memory and nothing on disk: one row, or some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import ImageRef
from clipfuse.data.pictures import PictureError, decode_picture
from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Prepared
from clipfuse.probe import default_batch_size
from clipfuse.run import Run
from clipfuse.run_features import run_encoders, run_views, views_read
from clipfuse.select_streams import as_streams
from clipfuse.streams import Streams
from clipfuse.views import View
from clipfuse_cache import Features, TableDescription
from clipfuse_cache.fingerprint import input_digest


@dataclass(frozen=True)
class RowInput:
    """One row's picture and caption; None where it has none."""

    picture: ImageRef | None
    caption: str | None


@dataclass(frozen=True)
class LoadedEncoders:
    """Encoders on one device, each loaded once however many runs ask for it."""

    device: str
    _loaded: dict[tuple[object, ...], list[Encoder]] = field(default_factory=dict)

    def load(self, factory: EncoderFactory, specs: Sequence[EncoderSpec]) -> list[Encoder]:
        """One for each of ``specs``. Raises EncoderError."""
        key = tuple((spec.fingerprint(spec.outputs[0], "float32"), spec.outputs) for spec in specs)
        if key not in self._loaded:
            self._loaded[key] = factory.load(self.device, specs)
        return self._loaded[key]


@dataclass(frozen=True)
class _Reading:
    """An encoder's look at the inputs as they are (``view`` None) or at a view of them, and the tables that its outputs
    would be."""

    encoder: Encoder
    view: View | None
    tables: tuple[TableDescription, ...]


class LiveInputs:
    """What turns rows into the streams of one run. Make it with :meth:`open`."""

    def __init__(
        self, tables: Mapping[str, tuple[TableDescription, ...]], readings: Sequence[_Reading], *, threads: int
    ) -> None:
        self._tables = tables
        self._readings = readings
        self._threads = threads

    @classmethod
    def open(cls, run: Run, encoders: LoadedEncoders, *, threads: int, word_list: Path | None = None) -> LiveInputs:
        """Find and load the run's encoders.

        Args:
            run: a trained run.
            encoders: what is loaded already.
            threads: that read, decode and prepare where there are several rows.
            word_list: the synonyms that a view was made with, where those are not the ones that ship.

        Raises:
            FingerprintMismatch, DataError, WeightsMissing, EncoderError, ConfigError: as ``predict``.
        """
        tables = {name: (plain, *views_read(run).get(name, ())) for name, plain in run.streams.items()}
        wanted = {table.fingerprint: table for those in tables.values() for table in those}
        views = (None, *run_views(run, word_list))
        readings = []
        for storage, factories in run_encoders(run, {}).items():
            for factory in factories:
                for encoder in encoders.load(factory, factory.specs):
                    for view in views:
                        spec = encoder.spec
                        if view is not None:
                            spec = replace(spec, view=view.name, view_settings=view.settings())
                        prints = [spec.fingerprint(output, storage) for output in spec.outputs]
                        found = tuple(wanted[print_] for print_ in prints if print_ in wanted)
                        if found:
                            readings.append(_Reading(encoder, view, found))
        return cls(tables, readings, threads=threads)

    def streams(self, rows: Sequence[RowInput]) -> Streams:
        """Those of at least one row. An input that is absent or can't be used leaves its row without it."""
        made = {
            table.fingerprint: Features(
                np.zeros((len(rows), table.tokens, table.dim), dtype=table.dtype), np.zeros(len(rows), dtype=np.bool_)
            )
            for those in self._tables.values()
            for table in those
        }
        size = min((default_batch_size(one.encoder.spec.pixels) for one in self._readings), default=len(rows))
        prepared = self._prepared(rows)
        while places := list(islice(prepared, size)):
            for number, reading in enumerate(self._readings):
                ready = [(place, found[number]) for place, found in places]
                _encode(reading, [(place, one) for place, one in ready if one is not None], made)
        return as_streams(
            {name: (made[table.fingerprint] for table in those) for name, those in self._tables.items()}, "cpu"
        )

    def _prepared(self, rows: Sequence[RowInput]) -> Iterator[tuple[int, list[Prepared | None]]]:
        """Each row's place and what each reading makes of it, in order; threads go on while batches are encoded."""
        if len(rows) == 1 or self._threads == 1:
            yield from ((place, self._prepare(row)) for place, row in enumerate(rows))
            return
        with ThreadPoolExecutor(self._threads) as pool:
            yield from enumerate(pool.map(self._prepare, rows))

    def _prepare(self, row: RowInput) -> list[Prepared | None]:
        data, image = b"", None
        if row.picture is not None and any(one.encoder.spec.modality == "image" for one in self._readings):
            try:
                data = row.picture.read()
                image = decode_picture(data).image
            except (OSError, PictureError):
                image = None
        found: list[Prepared | None] = []
        for reading in self._readings:
            reads_pictures = reading.encoder.spec.modality == "image"
            item = image if reads_pictures else row.caption
            digest = input_digest(data if reads_pictures else (row.caption or "").encode())
            found.append(None if item is None else _prepare(reading, item, digest))
        return found


def _prepare(reading: _Reading, item: Any, digest: bytes) -> Prepared | None:
    try:
        return reading.encoder.prepare(item if reading.view is None else reading.view.apply(item, digest))
    except MemoryError:
        raise
    except Exception:  # a library's transform or tokenizer: as in an extraction, the row does without it
        return None


def _encode(reading: _Reading, ready: Sequence[tuple[int, Prepared]], made: Mapping[str, Features]) -> None:
    """One forward pass, into the tables that it gives."""
    if not ready:
        return
    places: NDArray[np.int64] = np.array([place for place, _ in ready])
    outputs = reading.encoder.encode(reading.encoder.collate([one for _, one in ready]))
    for table in reading.tables:
        values, valid = made[table.fingerprint]
        features = outputs[table.output].numpy()
        finite = np.isfinite(features).all(axis=(1, 2))
        values[places[finite]] = features[finite].astype(values.dtype)
        valid[places] = finite
