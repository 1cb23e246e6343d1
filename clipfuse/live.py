"""From pictures and captions to streams at once, encoders in memory and nothing on disk: one row, or some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import Part
from clipfuse.data.pictures import MAX_PIXELS, PictureError, decode_picture
from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Prepared
from clipfuse.probe import default_batch_size
from clipfuse.run import Run
from clipfuse.run_features import run_encoders, run_views, views_read
from clipfuse.select_streams import as_streams
from clipfuse.shard_work import NOT_FINITE
from clipfuse.streams import Streams
from clipfuse.views import View
from clipfuse_cache import Features, TableDescription
from clipfuse_cache.fingerprint import input_digest


class PictureFile(Protocol):
    """A picture's file wherever it is: an :class:`~clipfuse.data.dataset.ImageRef`, or one in memory."""

    def read(self) -> bytes:
        """The file as it is. Raises OSError, PictureError where it can't be read."""
        ...


@dataclass(frozen=True)
class RowInput:
    """One row's picture and caption; None where it has none."""

    picture: PictureFile | None
    caption: str | None


class LiveRows(NamedTuple):
    """Rows as streams.

    Attributes:
        streams: of at least one row; an input that is absent or can't be used leaves its row without it.
        problems: one a row: "image" or "text" -> why that input can't be used.
    """

    streams: Streams
    problems: tuple[Mapping[Part, str], ...]


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
        self,
        tables: Mapping[str, tuple[TableDescription, ...]],
        readings: Sequence[_Reading],
        *,
        threads: int,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._tables = tables
        self._readings = readings
        self._threads = threads
        self._max_pixels = max_pixels

    @classmethod
    def open(
        cls,
        run: Run,
        encoders: LoadedEncoders,
        *,
        threads: int,
        word_list: Path | None = None,
        names: Mapping[str, str] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> LiveInputs:
        """Find and load the run's encoders.

        Args:
            run: a trained run.
            encoders: what is loaded already.
            threads: that read, decode and prepare where there are several rows.
            word_list: the synonyms that a view was made with, where those are not the ones that ship.
            names: stream -> encoder name, where an encoder's files are no longer where they were at training.
            max_pixels: of a picture; one that has more can't be used.

        Raises:
            FingerprintMismatch, DataError, WeightsMissing, EncoderError, ConfigError: as ``predict``.
        """
        tables = {name: (plain, *views_read(run).get(name, ())) for name, plain in run.streams.items()}
        wanted = {table.fingerprint: table for those in tables.values() for table in those}
        views = (None, *run_views(run, word_list))
        readings = []
        for storage, factories in run_encoders(run, names or {}).items():
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
        return cls(tables, readings, threads=threads, max_pixels=max_pixels)

    def streams(self, rows: Sequence[RowInput]) -> Streams:
        """Those of at least one row. An input that is absent or can't be used leaves its row without it."""
        return self.read(rows).streams

    def read(self, rows: Sequence[RowInput]) -> LiveRows:
        """The streams of at least one row, and why an input can't be used."""
        made = {
            table.fingerprint: Features(
                np.zeros((len(rows), table.tokens, table.dim), dtype=table.dtype), np.zeros(len(rows), dtype=np.bool_)
            )
            for those in self._tables.values()
            for table in those
        }
        size = min((default_batch_size(one.encoder.spec.pixels) for one in self._readings), default=len(rows))
        problems: list[dict[Part, str]] = [{} for _ in rows]
        prepared = self._prepared(rows)
        while places := list(islice(prepared, size)):
            for number, reading in enumerate(self._readings):
                ready, modality = [], reading.encoder.spec.modality
                for place, found in places:
                    one = found[number]
                    if isinstance(one, _Unusable):
                        problems[place].setdefault(modality, one.reason)
                    elif one is not None:
                        ready.append((place, one))
                for place in _encode(reading, ready, made):
                    problems[place].setdefault(modality, NOT_FINITE)
        streams = as_streams(
            {name: (made[table.fingerprint] for table in those) for name, those in self._tables.items()}, "cpu"
        )
        return LiveRows(streams, tuple(problems))

    def _prepared(self, rows: Sequence[RowInput]) -> Iterator[tuple[int, list[Prepared | _Unusable | None]]]:
        """Each row's place and what each reading makes of it, in order; threads go on while batches are encoded."""
        if len(rows) == 1 or self._threads == 1:
            yield from ((place, self._prepare(row)) for place, row in enumerate(rows))
            return
        with ThreadPoolExecutor(self._threads) as pool:
            yield from enumerate(pool.map(self._prepare, rows))

    def _prepare(self, row: RowInput) -> list[Prepared | _Unusable | None]:
        """For each reading; None where the row has no such input."""
        data = b""
        image: Any = None
        if row.picture is not None and any(one.encoder.spec.modality == "image" for one in self._readings):
            try:
                data = row.picture.read()
                image = decode_picture(data, max_pixels=self._max_pixels).image
            except OSError as error:
                image = _Unusable(f"can't be read ({error.strerror or type(error).__name__})")
            except PictureError as error:
                image = _Unusable(str(error))
        found: list[Prepared | _Unusable | None] = []
        for reading in self._readings:
            reads_pictures = reading.encoder.spec.modality == "image"
            item = image if reads_pictures else row.caption
            digest = input_digest(data if reads_pictures else (row.caption or "").encode())
            found.append(item if item is None or isinstance(item, _Unusable) else _prepare(reading, item, digest))
        return found


@dataclass(frozen=True)
class _Unusable:
    """An input that is there and can't be used."""

    reason: str


def _prepare(reading: _Reading, item: Any, digest: bytes) -> Prepared | _Unusable | None:
    try:
        return reading.encoder.prepare(item if reading.view is None else reading.view.apply(item, digest))
    except MemoryError:
        raise
    except Exception as error:  # a library's transform or tokenizer: as in an extraction, the row does without it
        if reading.view is not None:  # a row that a view can't be made of has the input as it is there
            return None
        return _Unusable(f"can't be prepared ({error or type(error).__name__})")


def _encode(
    reading: _Reading, ready: Sequence[tuple[int, Prepared]], made: Mapping[str, Features]
) -> NDArray[np.int64]:
    """One forward pass, into the tables that it gives; places of rows that it can't be told of, their features being
    not finite, or not as they are stored."""
    places: NDArray[np.int64] = np.array([place for place, _ in ready], np.int64)
    if not ready:
        return places
    unusable = np.zeros(len(ready), dtype=np.bool_)
    outputs = reading.encoder.encode(reading.encoder.collate([one for _, one in ready]))
    for table in reading.tables:
        values, valid = made[table.fingerprint]
        with np.errstate(over="ignore"):
            features = outputs[table.output].numpy().astype(values.dtype)
        finite = np.isfinite(features).all(axis=(1, 2))
        values[places[finite]] = features[finite]
        valid[places] = finite
        unusable |= ~finite
    return places[unusable & (reading.view is None)]  # without a view, a row has the input as it is there
