"""Runs side by side, within one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipfuse.errors import ClipfuseError
from clipfuse.metrics import METRICS
from clipfuse.run import Run, list_runs, open_run


@dataclass(frozen=True)
class BenchRow:
    """One run on one split.

    Attributes:
        name: the run's directory name.
        kind: fusion, with the estimator in front where it is one.
        encoders: stream -> "encoder/output".
        scores, intervals: metric -> value on the test rows, and its 95% interval [low, high].
        repeats: trainings that the scores are a mean of: folds, seeds; 1 without repeats.
        deviations: metric -> their standard deviation, where there are several.
        train_seconds: wall clock, refit left out.
        rows_per_second: probabilities from features in memory.
        parameters: of head and fusion.
        head_bytes, encoder_bytes: files as stored.
        device: what it was trained on.
    """

    name: str
    kind: str
    encoders: dict[str, str]
    scores: dict[str, float | None]
    intervals: dict[str, list[float]]
    train_seconds: float
    rows_per_second: float
    parameters: int
    head_bytes: int
    encoder_bytes: int
    device: str
    repeats: int = 1
    deviations: dict[str, float] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Head and encoders."""
        return self.head_bytes + self.encoder_bytes


@dataclass(frozen=True)
class BenchGroup:
    """Runs that were scored on the same rows: only these may be ranked. Best micro-F1 first."""

    split: dict[str, Any]
    rows: dict[str, int]
    trivial: tuple[dict[str, Any], ...]
    runs: tuple[BenchRow, ...]


def bench(runs: Path) -> tuple[list[BenchGroup], list[str]]:
    """All complete runs under ``runs`` by split, the newest split first, and what could not be read or is not complete.

    Splits are the same when the same ids have the same roles, whatever they are called, and the test rows the same
    labels.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    problems = []
    for path in list_runs(runs):
        try:
            run = open_run(path)
            groups.setdefault((run.metrics["split"]["digest"], run.metrics["truth"]), []).append(run)
        except ClipfuseError as error:
            problems.append(str(error))
    newest = sorted(groups.values(), key=lambda runs: max(run.metrics["created"] for run in runs), reverse=True)
    return [bench_group(members) for members in newest], problems


def bench_row(run: Run) -> BenchRow:
    """One run's row."""
    metrics = run.metrics
    test, repeats = metrics["scores"]["test"], metrics.get("repeats")
    scores = repeats["mean"] if repeats else test["scores"]
    deviations = repeats["deviation"] if repeats else {}
    return BenchRow(
        name=run.name,
        kind=metrics["kind"],
        encoders={name: f"{s.encoder_name}/{s.output}" for name, s in run.streams.items()},
        scores={metric: scores[metric] for metric in METRICS},
        intervals={} if repeats else test["intervals"],
        train_seconds=metrics["seconds"]["train"],
        rows_per_second=metrics["prediction_rows_per_second"],
        parameters=metrics["parameters"],
        head_bytes=run.model_bytes,
        encoder_bytes=run.encoder_bytes,
        device=metrics["device"],
        repeats=repeats["count"] if repeats else 1,
        deviations={metric: value for metric, value in deviations.items() if value is not None},
    )


def bench_group(members: Sequence[Run]) -> BenchGroup:
    """Runs of one split, best first."""
    first = members[0].metrics
    rows = sorted(map(bench_row, members), key=lambda row: -(row.scores["micro_f1"] or 0))
    return BenchGroup(first["split"], first["rows"], tuple(first["trivial"]), tuple(rows))
