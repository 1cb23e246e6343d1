"""The columns of ``clipfuse bench``, one table of them for every form of its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from clipfuse.bench import BenchRow, Part
from clipfuse.registry import Registry
from clipfuse.timing import Spread, Timing

Value = float | str | None

SCORES = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "samples_f1": "samples-F1",
    "weighted_f1": "weighted-F1",
    "mean_average_precision": "mAP",
    "subset_accuracy": "subset acc.",
    "label_accuracy": "label acc.",
}
"""Metric -> what it is called in tables."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: what a user types.
        heading: what stands above it, in lines.
        figure: of a run; None where it is not known, a spread where it was measured several times.
        digits: behind the point, of numbers.
        better: which end is the best, "" where there is none.
        metric: of which score it is.
        part: on whose machine it hangs; None for what is the same on every machine.
    """

    name: str
    heading: str
    figure: Callable[[BenchRow], Spread | Value]
    digits: int = 0
    better: Literal["high", "low", ""] = ""
    metric: str | None = None
    part: Part | None = None

    @property
    def title(self) -> str:
        """The heading in one line."""
        return self.heading.replace("\n", " ")

    @property
    def group(self) -> Literal["scores", "time", "size", "words"]:
        """What it goes together with."""
        if self.metric is not None:
            return "scores"
        if not self.better:
            return "words"
        return "time" if self.part is not None and not self.name.endswith("-mb") else "size"

    def value(self, row: BenchRow) -> Value:
        """A run's value, of several measurements their median."""
        found = self.figure(row)
        return found.median if isinstance(found, Spread) else found

    def is_comparable(self, row: BenchRow) -> bool:
        """Whether the row has a value that was not measured on another machine."""
        return self.value(row) is not None and self.part not in row.elsewhere


COLUMNS: Registry[Column] = Registry("column")


def _score(name: str, metric: str) -> Column:
    return Column(name, SCORES[metric], lambda row: row.scores[metric], 3, "high", metric)


def _latency(timing: Timing | None) -> Spread | None:
    return None if timing is None else timing.latency_ms


def _throughput(timing: Timing | None) -> Spread | None:
    return None if timing is None else timing.rows_per_second


def _mb(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def _stage_one(row: BenchRow, what: Literal["rows_per_second", "seconds"]) -> float | None:
    return None if row.stage_one is None else getattr(row.stage_one, what)


def _peak(row: BenchRow, what: Literal["bytes", "gpu_bytes"]) -> float | None:
    return None if row.peak_memory is None else _mb(getattr(row.peak_memory, what))


def _encoders(row: BenchRow) -> str:
    return ", ".join(f"{stream}: {encoder}" for stream, encoder in row.encoders.items())


for _column in (
    Column("run", "run", lambda row: row.name),
    Column("kind", "kind", lambda row: row.kind),
    _score("micro-f1", "micro_f1"),
    _score("macro-f1", "macro_f1"),
    _score("samples-f1", "samples_f1"),
    _score("weighted-f1", "weighted_f1"),
    _score("map", "mean_average_precision"),
    _score("subset-accuracy", "subset_accuracy"),
    _score("label-accuracy", "label_accuracy"),
    Column("stage1-rows-s", "stage 1\nrows/s", lambda r: _stage_one(r, "rows_per_second"), 0, "high", part="stage one"),
    Column("stage1-s", "stage 1\ns", lambda r: _stage_one(r, "seconds"), 1, "low", part="stage one"),
    Column("train-s", "train s", lambda row: row.train_seconds, 1, "low", part="training"),
    Column("latency-ms", "ms a row", lambda r: _latency(r.features), 2, "low", part="features"),
    Column("rows-s", "rows/s", lambda r: _throughput(r.features), 0, "high", part="features"),
    Column("end-to-end-ms", "end to end\nms", lambda r: _latency(r.end_to_end), 1, "low", part="end to end"),
    Column(
        "end-to-end-rows-s", "end to end\nrows/s", lambda r: _throughput(r.end_to_end), 0, "high", part="end to end"
    ),
    Column("peak-mb", "peak MB", lambda r: _peak(r, "bytes"), 0, "low", part="training"),
    Column("gpu-mb", "GPU MB", lambda r: _peak(r, "gpu_bytes"), 0, "low", part="training"),
    Column("head-params", "params", lambda row: row.parameters, 0, "low"),
    Column("encoder-params", "enc. params", lambda row: row.encoder_parameters, 0, "low"),
    Column("total-params", "total params", lambda row: row.total_parameters, 0, "low"),
    Column("head-mb", "head MB", lambda row: _mb(row.head_bytes), 2, "low"),
    Column("encoder-mb", "enc. MB", lambda row: _mb(row.encoder_bytes), 2, "low"),
    Column("total-mb", "total MB", lambda row: _mb(row.total_bytes), 2, "low"),
    Column("encoders", "encoders", _encoders),
    Column("machine", "trained on", lambda row: row.machines["training"]),
):
    COLUMNS.register(_column.name)(_column)

USUAL = (
    *("micro-f1", "macro-f1", "samples-f1", "map"),
    *("stage1-rows-s", "stage1-s", "train-s", "latency-ms", "rows-s", "end-to-end-ms", "end-to-end-rows-s"),
    *("peak-mb", "head-params", "head-mb", "encoder-mb", "total-mb"),
)
"""What a table shows if nobody says which."""


def find_columns(names: Sequence[str]) -> list[Column]:
    """The columns of these names, each once. Raises UnknownName, with the nearest one."""
    return [COLUMNS.get(name) for name in dict.fromkeys(names)]


def usual_columns(runs: Sequence[BenchRow]) -> list[Column]:
    """The usual ones of which anything is known of any of these runs."""
    return [column for column in find_columns(USUAL) if any(column.value(row) is not None for row in runs)]
