"""Runs side by side, within one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clipfuse.errors import ClipfuseError
from clipfuse.machine import is_here, machine_words
from clipfuse.measured import Measured, read_measured
from clipfuse.metrics import METRICS
from clipfuse.peak_memory import Peak
from clipfuse.run import Run, list_runs, open_run
from clipfuse.stage_one import StageOne
from clipfuse.timing import Spread, Timing

Part = Literal["stage one", "training", "features", "end to end"]
"""What is measured on some machine: stage one, the training, predictions from features and end to end."""


@dataclass(frozen=True)
class BenchRow:
    """One run on one split. None is what is not known: older runs were measured less.

    Attributes:
        name: the run's directory name.
        kind: fusion, with the estimator in front where it is one.
        encoders: stream -> "encoder/output".
        scores, intervals: metric -> value on the test rows, and its 95% interval [low, high].
        train_seconds: wall clock, refit left out.
        parameters: of head and fusion.
        head_bytes, encoder_bytes: files as stored; of the head None where no model is kept, of the encoders where they
            are not known.
        device: what it was trained on.
        repeats: trainings that the scores are a mean of: folds, seeds; 1 without repeats.
        deviations: metric -> their standard deviation, where there are several.
        encoder_parameters: numbers in the encoders' files.
        features: prediction from features in memory.
        end_to_end: prediction from pictures and captions on disk, encoders in memory.
        stage_one: what its features took.
        peak_memory: of the training process.
        machines: part -> what it was measured on, in words.
        elsewhere: the parts that were measured on another machine than this one.
    """

    name: str
    kind: str
    encoders: dict[str, str]
    scores: dict[str, float | None]
    intervals: dict[str, list[float]]
    train_seconds: float
    parameters: int
    head_bytes: int | None
    encoder_bytes: int | None
    device: str
    repeats: int = 1
    deviations: dict[str, float] = field(default_factory=dict)
    encoder_parameters: int | None = None
    features: Timing | None = None
    end_to_end: Timing | None = None
    stage_one: StageOne | None = None
    peak_memory: Peak | None = None
    machines: dict[Part, str] = field(default_factory=dict)
    elsewhere: tuple[Part, ...] = ()

    @property
    def rows_per_second(self) -> float | None:
        """Probabilities from features in memory."""
        return None if self.features is None else self.features.rows_per_second.median

    @property
    def total_bytes(self) -> int | None:
        """Head and encoders."""
        return _sum(self.head_bytes, self.encoder_bytes)

    @property
    def total_parameters(self) -> int | None:
        """Of head and encoders."""
        return _sum(self.parameters, self.encoder_parameters)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, sums included."""
        sums = {"total_bytes": self.total_bytes, "total_parameters": self.total_parameters}
        return {**asdict(self), "rows_per_second": self.rows_per_second, **sums}


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
    found, problems = open_runs(runs)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in found:
        groups.setdefault((run.metrics["split"]["digest"], run.metrics["truth"]), []).append(run)
    newest = sorted(groups.values(), key=lambda runs: max(run.metrics["created"] for run in runs), reverse=True)
    return [bench_group(members) for members in newest], problems


def open_runs(runs: Path) -> tuple[list[Run], list[str]]:
    """All complete runs under ``runs``, oldest first, and what could not be read or is not complete."""
    found, problems = [], []
    for path in list_runs(runs):
        try:
            found.append(open_run(path))
        except ClipfuseError as error:
            problems.append(str(error))
    return found, problems


def bench_row(run: Run) -> BenchRow:
    """One run's row. Timings are those that were measured on this machine, where there are such, the newest first."""
    metrics = run.metrics
    test, repeats = metrics["scores"]["test"], metrics.get("repeats")
    scores = repeats["mean"] if repeats else test["scores"]
    deviations = repeats["deviation"] if repeats else {}
    extraction, peak = metrics.get("stage_one"), metrics.get("peak_memory")
    features, end_to_end, machines = _timings(run)
    machines["training"] = [run.environment]
    if extraction:
        machines["stage one"] = extraction["machines"]
    return BenchRow(
        name=run.name,
        kind=metrics["kind"],
        encoders={name: f"{s.encoder_name}/{s.output}" for name, s in run.streams.items()},
        scores={metric: scores[metric] for metric in METRICS},
        intervals=test["intervals"],
        train_seconds=metrics["seconds"]["train"],
        parameters=metrics["parameters"],
        head_bytes=run.model_bytes if run.keeps_model else None,
        encoder_bytes=run.encoder_bytes,
        device=metrics["device"],
        repeats=repeats["count"] if repeats else 1,
        deviations={metric: value for metric, value in deviations.items() if value is not None},
        encoder_parameters=run.encoder_parameters,
        features=features,
        end_to_end=end_to_end,
        stage_one=StageOne.from_dict(extraction) if extraction else None,
        peak_memory=Peak(**peak) if peak else None,
        machines={part: "; ".join(map(machine_words, those)) for part, those in machines.items()},
        elsewhere=tuple(part for part, those in machines.items() if not all(map(is_here, those))),
    )


def bench_group(members: Sequence[Run]) -> BenchGroup:
    """Runs of one split, best first."""
    first = members[0].metrics
    rows = sorted(map(bench_row, members), key=lambda row: -(row.scores["micro_f1"] or 0))
    return BenchGroup(first["split"], first["rows"], tuple(first["trivial"]), tuple(rows))


def _timings(run: Run) -> tuple[Timing | None, Timing | None, dict[Part, list[Mapping[str, Any]]]]:
    """From features and end to end, and what each was measured on."""
    stored, again = _stored_timing(run), read_measured(run.path)
    each = [*stored, *again]
    on_processor = [({**one.machine, "device": "cpu"}, one.features) for one in again]  # heads are asked there
    features = _newest([*((one.machine, one.features) for one in stored), *on_processor])
    end_to_end = _newest([(one.machine, one.end_to_end) for one in each if one.end_to_end is not None])
    machines: dict[Part, list[Mapping[str, Any]]] = {}
    if features:
        machines["features"] = [features[0]]
    if end_to_end:
        machines["end to end"] = [end_to_end[0]]
    return features and features[1], end_to_end and end_to_end[1], machines


def _stored_timing(run: Run) -> list[Measured]:
    """What was measured after the training."""
    metrics = run.metrics
    if "prediction" in metrics:
        timing = Timing.from_dict(metrics["prediction"])
    elif "prediction_rows_per_second" in metrics:  # of an older run: no latency, and the best of three passes
        value = metrics["prediction_rows_per_second"]
        timing = Timing(None, Spread(value, value, value, 1), metrics["rows"]["test"])
    else:
        return []
    return [Measured(run.environment, metrics["created"], timing, None)]


def _newest(timings: Sequence[tuple[Mapping[str, Any], Timing]]) -> tuple[Mapping[str, Any], Timing] | None:
    """The last one of this machine, or else the last one of any."""
    here = [one for one in timings if is_here(one[0])] or timings
    return here[-1] if here else None


def _sum(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
