"""Tables of scores on stdout: trivial rows on top, the best in bold, intervals beside micro-F1 and mAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipfuse.bench_cells import score_beside
from clipfuse.bench_columns import SCORES
from clipfuse.run_words import rows_used, verdict
from clipfuse_cli.console import output

if TYPE_CHECKING:
    from rich.table import Table

    from clipfuse.bench import BenchRow
    from clipfuse.run import Run

_WIDE = 150
"""Columns of a terminal that take scores, intervals and costs side by side."""

_WITH_INTERVAL = ("micro_f1", "mean_average_precision")


def show_run(run: Run) -> None:
    """One run's scores on the test rows, and per label."""
    from clipfuse.bench import bench_row

    metrics = run.metrics
    row = bench_row(run)
    show_scores(
        f"{run.name}: {rows_used(metrics)}",
        metrics["trivial"],
        [(called(row.kind, row), _model(row))],
    )
    print(verdict(metrics["trivial"], row))
    show_modalities(metrics["modalities"])
    show_members(metrics.get("ensemble"))
    show_storage(metrics)
    for line in choices(run):
        print(line)
    show_labels(metrics["scores"]["test"]["scores"]["labels"])


def show_scores(
    title: str, trivial: Sequence[Mapping[str, Any]], models: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    """Trivial rows, then models; each is a name with ``scores`` and ``intervals``."""
    console = output()
    wide = console.width >= _WIDE
    shown = tuple(SCORES) if wide else ("micro_f1", "macro_f1", "samples_f1", "mean_average_precision")
    intervals = _WITH_INTERVAL if wide else _WITH_INTERVAL[:1]
    grid = new_grid("model", *(SCORES[name] for name in shown))
    for row in trivial:
        grid.add_row(plain(row["name"]), *_cells(row, set(), shown, intervals), style="dim")
    grid.add_section()
    best = _best([scores for _, scores in models])
    for name, scores in models:
        grid.add_row(plain(name), *_cells(scores, best, shown, intervals))
    console.print(title, markup=False)
    console.print(grid)


def show_modalities(modalities: Mapping[str, Mapping[str, Any]]) -> None:
    """The same test rows with one modality only, and with all: nothing for a model of one."""
    if modalities:
        _show_few("test rows with", [(name, row["scores"], row["intervals"]) for name, row in modalities.items()])


def show_members(ensemble: Mapping[str, Any] | None) -> None:
    """An ensemble's members, and what it gains over the best of them; nothing without one."""
    if not ensemble:
        return
    members: list[tuple[str, Any, Any]] = [
        (f"member {n}", member["test"], {}) for n, member in enumerate(ensemble["members"], start=1)
    ]
    _show_few(f"ensemble of {ensemble['kind']}", members)
    gain = ensemble["difference"]
    output().print(
        f"The ensemble's micro-F1 is {gain['observed']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}) beside that of"
        f" member {ensemble['best_member']}, the best on validation.",
        markup=False,
    )


def choices(run: Run) -> list[str]:
    """What thresholds, the rule for empty rows and calibration are worth on the test rows, a sentence each; none for
    those that were left as they are."""
    config, metrics, found = run.config, run.metrics, []
    gain = (metrics.get("threshold_gain") or {}).get("micro_f1")
    if gain and (config.thresholds, config.empty_rows) != ("fixed", "nothing"):
        chosen = f"thresholds {config.thresholds}, empty rows {config.empty_rows}"
        spread = f"95% interval {gain['low']:+.3f} to {gain['high']:+.3f}"
        found.append(f"{chosen}: micro-F1 {gain['observed']:+.3f} beside a plain 0.5 ({spread}).")
    calibration = metrics.get("calibration")
    if calibration:
        names = {"error": "calibration error", "label_error": "its mean over labels", "log_loss": "log loss"}
        before, after = calibration["before"], calibration["after"]
        gains = ", ".join(f"{words} {before[name]:.3f} → {after[name]:.3f}" for name, words in names.items())
        found.append(f"calibration {calibration['kind']}: {gains}.")
    return found


def show_storage(metrics: Mapping[str, Any]) -> None:
    """A model as it is stored beside the full one; nothing where it is stored in full."""
    storage = metrics.get("storage")
    if not storage:
        return
    full, kept = storage["full_scores"], metrics["scores"]["test"]
    sizes = {"float32": (full, storage["full_bytes"]), storage["kind"]: (kept, storage["bytes"])}
    rows = [(f"{name}, {size / 1e6:.2f} MB", row["scores"], row["intervals"]) for name, (row, size) in sizes.items()]
    _show_few("stored as", rows)


def _show_few(first: str, rows: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """A small table: name, scores, intervals."""
    shown = ("micro_f1", "macro_f1", "samples_f1", "mean_average_precision")
    grid = new_grid(first, *(SCORES[name] for name in shown))
    for name, scores, intervals in rows:
        grid.add_row(plain(name), *_cells({"scores": scores, "intervals": intervals}, set(), shown, _WITH_INTERVAL[:1]))
    output().print(grid)


def show_labels(labels: Sequence[Mapping[str, Any]]) -> None:
    """Precision, recall, F1, AP and support of each label."""
    grid = new_grid("label", "precision", "recall", "F1", "AP", "support")
    for label in labels:
        ap = label["average_precision"]
        values = [f"{label[key]:.3f}" for key in ("precision", "recall", "f1")]
        grid.add_row(plain(label["name"]), *values, "–" if ap is None else f"{ap:.3f}", f"{label['support']:,}")
    output().print(grid)


def called(name: str, row: BenchRow) -> str:
    """With how many trainings its scores are a mean of, where these are several."""
    return f"{name}, mean of {row.repeats}" if row.repeats > 1 else name


def _model(row: BenchRow) -> dict[str, Any]:
    return {"scores": row.scores, "intervals": row.intervals, "deviations": row.deviations}


def new_grid(first: str, *columns: str, narrowest: int = 10) -> Table:
    """A table with a column of names, at least so many characters wide, and columns of numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column(first, overflow="fold", min_width=narrowest)
    for column in columns:
        grid.add_column(column, justify="right", no_wrap=True)
    return grid


def plain(text: str) -> Any:
    """Text in which brackets are brackets."""
    from rich.text import Text

    return Text(text)


def _best(models: Sequence[Mapping[str, Any]]) -> set[tuple[str, float]]:
    """(metric, highest value), where there is more than one model to compare."""
    if len(models) < 2:
        return set()
    found = set()
    for metric in SCORES:
        values = [model["scores"][metric] for model in models if model["scores"][metric] is not None]
        if values:
            found.add((metric, max(values)))
    return found


def _cells(
    row: Mapping[str, Any], best: set[tuple[str, float]], shown: Sequence[str], intervals: Sequence[str]
) -> list[str]:
    cells = []
    for metric in shown:
        value = row["scores"][metric]
        if value is None:
            cells.append("–")
            continue
        text = f"[bold]{value:.3f}[/bold]" if (metric, value) in best else f"{value:.3f}"
        wanted = row.get("intervals", {}) if metric in intervals else {}
        beside = score_beside(metric, wanted, row.get("deviations", {}))
        text += f" [dim]{beside}[/dim]" if beside else ""
        cells.append(text)
    return cells
