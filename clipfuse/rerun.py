"""Measuring again how fast runs predict, on this machine: from features, and from pictures and captions on disk.

Heads compute on the processor and encoders on the device that is asked for, as they do in ``clipfuse predict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import torch

from clipfuse.choose import choose
from clipfuse.data.dataset import Dataset
from clipfuse.data.split import ROLES
from clipfuse.errors import CacheError, ClipfuseError, DataError
from clipfuse.inputs import cpu_count
from clipfuse.live import LiveInputs, LoadedEncoders, RowInput
from clipfuse.machine import compared_machine
from clipfuse.measured import Measured
from clipfuse.predictor import Predictor
from clipfuse.run import Run
from clipfuse.run_features import run_tables, views_read
from clipfuse.select_streams import read_streams
from clipfuse.streams import Streams, modality_of
from clipfuse.table_streams import CAPTIONS, NUMBERS
from clipfuse.timing import CAREFUL, FEWEST_ROWS, MANY_ROWS, Effort, Timing, time_calls, time_prediction
from clipfuse_cache import FeatureCache

ROWS_END_TO_END = 64
"""Rows that are predicted at once from their pictures and captions."""


@dataclass(frozen=True)
class Rerun:
    """Where to measure, and with what.

    Attributes:
        encoders: on the device that they are to run on.
        dataset: pictures and captions to predict; None where there are none.
        cache: where features of the runs' rows may be, if the cache that a run was trained on is not where it was.
        word_list: the synonyms that a view was made with, where those are not the ones that ship.
        effort: how much to measure.
    """

    encoders: LoadedEncoders
    dataset: Dataset | None = None
    cache: FeatureCache | None = None
    word_list: Path | None = None
    effort: Effort = field(default_factory=lambda: CAREFUL)

    def measure(self, run: Run) -> tuple[Measured, list[str]]:
        """How fast a run predicts, and what could not be measured as it should be, in words.

        Raises:
            RunError: it keeps no model, or a damaged one.
        """
        predictor = run.predictor()
        notes = []
        try:
            streams = self._cached(run)
        except CacheError as error:
            notes.append(f"from features that are drawn at random ({error.problem})")
            streams = random_streams(run)
        features = time_prediction(predictor, streams, self.effort)
        try:
            end_to_end = self._end_to_end(run, predictor)
        except ClipfuseError as error:
            notes.append(f"not end to end ({error.problem})")
            end_to_end = None
        return Measured.now(compared_machine(self.encoders.device), features, end_to_end), notes

    def _cached(self, run: Run) -> Streams:
        """Features of the run's rows. Raises CacheError where they are nowhere."""
        try:
            return cached_streams(run, FeatureCache(Path(run.metrics["cache"])))
        except CacheError:
            if self.cache is None:
                raise
        return cached_streams(run, self.cache)

    def _end_to_end(self, run: Run, predictor: Predictor) -> Timing:
        """From the files to the labels. Raises ClipfuseError where that can't be done here."""
        if set(map(modality_of, run.dims)) <= {NUMBERS}:
            raise DataError("it reads neither pictures nor captions")
        if self.dataset is None:
            raise DataError("no table with pictures and captions is named here")
        data, rows = self.dataset, complete_rows(run, self.dataset)
        live = LiveInputs.open(run, self.encoders, threads=cpu_count(), word_list=self.word_list)
        thresholds = run.thresholds()

        def predict(rows: Sequence[int]) -> None:
            inputs = [RowInput(data.images[row], data.captions[row]) for row in rows]
            streams = live.streams(inputs).beside(run.own.read(data, "cpu", rows))
            choose(predictor.probabilities(streams), thresholds, empty_rows=run.config.empty_rows)

        each = cycle(rows)
        return time_calls(lambda: predict([next(each)]), lambda: predict(rows), len(rows), self.effort)


def complete_rows(run: Run, data: Dataset) -> list[int]:
    """Rows that have all that the run reads, its test rows before others. Raises DataError where there are none."""
    tests = set(held_out_ids(run))
    lacking = run.own.lacking(data)
    if lacking:
        raise DataError(f"the table has no column {lacking[0]!r}")
    read = set(map(modality_of, run.dims))
    there = [
        row
        for row in range(len(data))
        if ("image" not in read or data.images[row] is not None)
        and ("text" not in read or data.captions[row] is not None)
    ]
    if not there:
        raise DataError("not one row of the table here has all that it reads")
    return sorted(there, key=lambda row: data.ids[row] not in tests)[:ROWS_END_TO_END]


def cached_streams(run: Run, cache: FeatureCache) -> Streams:
    """Features of the run's test rows, or of the first of them. Raises CacheError where they are not there."""
    ids = held_out_ids(run)[:MANY_ROWS]
    streams = read_streams(run_tables(run, cache), ids)
    samples = cache.samples()
    return streams.beside(run.own.read(samples, "cpu", samples.rows(ids)))


def random_streams(run: Run) -> Streams:
    """Rows of noise in the shapes of the run's features."""
    generator = torch.Generator().manual_seed(0)

    def draw(tokens: int, dim: int) -> torch.Tensor:
        return torch.randn(FEWEST_ROWS, tokens, dim, generator=generator)

    values = {name: draw(stream.tokens, stream.dim) for name, stream in run.streams.items()}
    views = {name: tuple(draw(one.tokens, one.dim) for one in those) for name, those in views_read(run).items()}
    for name, dim in run.own.dims.items():
        values[name] = torch.full((FEWEST_ROWS, 1, dim), ord("a")).byte() if name == CAPTIONS else draw(1, dim)
    return Streams(values, {name: torch.ones(FEWEST_ROWS, dtype=torch.bool) for name in values}, views)


def held_out_ids(run: Run) -> list[str]:
    """Ids of the run's test rows."""
    found = run.predictions()
    return [name for name, role in zip(found.ids, found.roles, strict=True) if role == ROLES.index("test")]
