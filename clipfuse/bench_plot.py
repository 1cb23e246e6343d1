"""Runs as points: a score against size and against training seconds, with the front of those that nothing beats."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipfuse.bench import BenchGroup, BenchRow
from clipfuse.bench_columns import COLUMNS, Column
from clipfuse.errors import ConfigError
from clipfuse.plot_labels import Label, Line, place_labels
from clipfuse_cache.atomic import write_bytes

FORMATS = ("svg", "png")
COSTS = ("total-mb", "train-s")
"""Columns on the x axis, a panel each."""

_PANEL = (6.2, 4.6)
"""Inches."""
_DPI = 150


@dataclass(frozen=True)
class Point:
    """A run in a panel: what it is called, its cost, its score and the ends of the score's bar; ``is_comparable`` is
    False where its cost was measured on another machine."""

    name: str
    cost: float
    score: float
    low: float
    high: float
    is_comparable: bool


def check_plot(path: Path) -> str:
    """The format that a file's name asks for. Raises ConfigError for another one, and where matplotlib is missing."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ConfigError(
            f"--plot {path}: can't draw {path.suffix or 'a file without a suffix'}",
            "Name a file that ends in .svg or .png",
        )
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ConfigError("drawing needs matplotlib", "pip install 'clipfuse[plot]'") from error
    return kind


def plot_bench(path: Path, groups: Sequence[BenchGroup], score: Column) -> None:
    """Draw ``score`` against each of the costs into an .svg or .png file; each split has its own row of panels.

    Raises:
        ConfigError: another format, or matplotlib is missing.
        DiskFull, CacheError: the file can't be written.
    """
    kind = check_plot(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _PANEL
    figure = Figure(figsize=(width * len(COSTS), height * len(groups)), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)  # measures texts; without pyplot nothing global is touched
    panels = figure.subplots(len(groups), len(COSTS), squeeze=False)
    drawn = [
        (panel, _draw(panel, group, score, COLUMNS.get(cost)))
        for group, row in zip(groups, panels, strict=True)
        for panel, cost in zip(row, COSTS, strict=True)
    ]
    _legend(figure, panels)
    canvas.draw()  # lays out: only now it is known where the points are
    for panel, (labels, lines) in drawn:
        place_labels(panel, labels, lines)
    out = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "clipfuse"}):  # texts stay texts, equal runs equal bytes
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, out.getvalue())


def points_of(group: BenchGroup, score: Column, cost: Column) -> list[Point]:
    """The runs of which both are known."""
    found = []
    for row, name in zip(group.runs, short_names(group.runs), strict=True):
        value, price = score.value(row), cost.value(row)
        if isinstance(value, float | int) and isinstance(price, float | int):
            low, high = row.intervals.get(score.metric or "", (value, value))
            deviation = row.deviations.get(score.metric or "", 0.0)
            found.append(
                Point(
                    name,
                    float(price),
                    float(value),
                    min(low, value - deviation),
                    max(high, value + deviation),
                    cost.is_comparable(row),
                )
            )
    return found


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those of this machine that no other beats in cost without being worse in score, by rising cost."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.score)):
        if point.is_comparable and (not found or point.score > found[-1].score):
            found.append(point)
    return found


def short_names(runs: Sequence[BenchRow]) -> list[str]:
    """What tells the runs apart: their kind; of several of one kind their directory's name without the date, too."""
    kinds = Counter(row.kind for row in runs)
    times = [re.sub(r"^[0-9]{8}-", "", row.name) for row in runs]
    unique = Counter(times)
    return [
        row.kind if kinds[row.kind] == 1 else time if unique[time] == 1 else row.name
        for row, time in zip(runs, times, strict=True)
    ]


def _draw(panel: Any, group: BenchGroup, score: Column, cost: Column) -> tuple[list[Label], list[Line]]:
    """The names to be written, those of the front first, and the lines that they should not cross."""
    points = points_of(group, score, cost)
    front = front_of(points)
    lines = [((point.cost, point.low), (point.cost, point.high)) for point in points]
    for (x, low), (_, high) in lines:
        panel.plot([x, x], [low, high], color="0.75", linewidth=1.0, zorder=1)
    bar = max(row["scores"][score.metric] or 0.0 for row in group.trivial)
    panel.axhline(bar, color="0.4", linewidth=0.9, linestyle=":", zorder=1, label="best trivial row")
    if front:
        steps = _steps(front, max(point.cost for point in points) * 1.02)
        panel.plot(*zip(*steps, strict=True), color="black", linewidth=1.2, zorder=2)
        lines += list(zip(steps, steps[1:], strict=False))
    styles = (
        ("o", "black", "none better at that cost", [point for point in points if point in front]),
        ("o", "white", "others", [point for point in points if point not in front and point.is_comparable]),
        ("s", "white", "measured on another machine", [point for point in points if not point.is_comparable]),
    )
    for marker, face, label, those in styles:
        if those:
            places = zip(*((point.cost, point.score) for point in those), strict=True)
            look = {"marker": marker, "s": 34, "facecolors": face, "edgecolors": "black", "linewidths": 1.1}
            panel.scatter(*places, **look, label=label, zorder=3)
    panel.set_xscale("log")
    panel.margins(x=0.18, y=0.08)
    _tick(panel, [point.cost for point in points])
    panel.set_xlabel(f"{cost.title} (log scale)")
    panel.set_ylabel(f"{score.title} on {group.rows['test']:,} test rows")
    panel.set_title(f"split {group.split['name']}", fontsize="medium", loc="left")
    panel.grid(visible=True, color="0.92", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    first = sorted(points, key=lambda point: (point not in front, -point.score))
    return [Label(point.name, (point.cost, point.score), point in front) for point in first], lines


def _steps(front: Sequence[Point], end: float) -> list[tuple[float, float]]:
    """Corners of the line that shows the best score to be had at each cost, up to ``end``."""
    corners = [(front[0].cost, front[0].score)]
    for point in front[1:]:
        corners += [(point.cost, corners[-1][1]), (point.cost, point.score)]
    return [*corners, (end, corners[-1][1])]


def _tick(panel: Any, costs: Sequence[float]) -> None:
    """Plain numbers on the logarithmic axis, some also where it spans less than a power of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    narrow = not costs or max(costs) < 5 * min(costs)
    low, high = panel.get_xlim()
    marks = [mark for mark in MaxNLocator(6).tick_values(low, high) if low < mark < high]
    panel.xaxis.set_major_locator(FixedLocator(marks) if narrow else LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Any, panels: Any) -> None:
    """One for all panels, below them."""
    found: dict[str, Any] = {}
    for panel in panels.flat:
        handles, labels = panel.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=len(found), fontsize="small")
