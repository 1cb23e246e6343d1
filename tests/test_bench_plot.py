"""Score against cost, drawn."""

import builtins
import re

import pytest
from test_bench_cells import BASE, group, row

from clipfuse.bench_columns import COLUMNS
from clipfuse.bench_plot import Point, check_plot, front_of, plot_bench, points_of, short_names
from clipfuse.errors import ConfigError
from clipfuse.plot_labels import Label, place_labels

MICRO, MB, SECONDS = COLUMNS.get("micro-f1"), COLUMNS.get("total-mb"), COLUMNS.get("train-s")
TRIVIAL = {"name": "no label", "scores": dict.fromkeys(BASE.scores, 0.1), "intervals": {}}


def some(count=5):
    """Runs of several sizes and seconds, in groups that are close together."""
    return tuple(
        row(
            f"20260131-1200{n:02d}-kind-{n}",
            0.5 + 0.02 * (n % 5),
            kind=f"kind-{n}",
            head_bytes=1_000_000 * (1 + n // 3),
            train_seconds=0.1 * 3 ** (n % 4),
        )
        for n in range(count)
    )


def drawn(*runs, name="s"):
    found = group(*runs)
    return type(found)({"name": name, "digest": name}, found.rows, (TRIVIAL,), runs)


def point(cost, score, *, here=True):
    return Point("", cost, score, score, score, here)


def test_the_front_is_what_nothing_beats():
    points = [point(3, 0.9), point(1, 0.5), point(2, 0.4), point(2, 0.8), point(3, 0.7), point(5, 0.9)]
    assert front_of(points) == [points[1], points[3], points[0]]
    assert front_of([point(1, 0.9, here=False), points[0]]) == [points[0]]
    assert front_of([]) == []


def test_points_have_their_interval_or_deviation():
    runs = (BASE, row("b", deviations={"micro_f1": 0.03}, head_bytes=None), row("c", deviations={"micro_f1": 0.2}))
    found = points_of(drawn(*runs), MICRO, MB)
    assert [(one.cost, one.low, one.high) for one in found] == [(94.0, 0.4, 0.6), (94.0, 0.3, 0.7)]
    assert [one.is_comparable for one in points_of(drawn(row("d", elsewhere=("training",))), MICRO, SECONDS)] == [False]


def test_runs_are_called_by_their_kind_where_that_tells_them_apart():
    runs = [row("20260131-120000-sum"), row("20260131-120100-sum"), row("20260131-120200-image", kind="image")]
    assert short_names(runs) == ["120000-sum", "120100-sum", "image"]
    runs = [row("20260131-120000-sum"), row("20260201-120000-sum")]
    assert short_names(runs) == ["20260131-120000-sum", "20260201-120000-sum"]


def test_an_svg_names_the_runs_and_is_the_same_each_time(tmp_path):
    groups = [drawn(*some(), row("a", elsewhere=("training",)), name="first")]
    plot_bench(tmp_path / "one.svg", groups, MICRO)
    text = (tmp_path / "one.svg").read_text()
    words = set(re.findall(r">([^<>]+)</text>", text))
    assert {"split first", "total MB (log scale)", "train s (log scale)", "best trivial row"} <= words
    assert {"kind-4", "sum", "measured on another machine"} <= words
    plot_bench(tmp_path / "two.svg", groups, MICRO)
    assert (tmp_path / "two.svg").read_text() == text


def test_a_png_is_one(tmp_path):
    plot_bench(tmp_path / "a.png", [drawn(BASE), drawn(BASE)], COLUMNS.get("map"))  # a row of panels for each split
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_names_do_not_cover_each_other():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figure = Figure(figsize=(6, 4))
    canvas = FigureCanvasAgg(figure)
    panel = figure.subplots()
    labels = [Label(f"name {n}", (1.0 + 0.01 * (n % 2), 1.0 + 0.01 * (n // 4))) for n in range(8)]
    panel.plot(*zip(*(label.point for label in labels), strict=True), "o")
    panel.margins(0.4)
    canvas.draw()
    left_out = place_labels(panel, [*labels, Label("needed", (1.0, 1.0), is_needed=True)])
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in panel.texts]
    assert len(boxes) == 9 - left_out >= 6
    named = [box for text, box in zip(panel.texts, boxes, strict=True) if text.get_text() != "needed"]
    assert len(named) < len(boxes)
    assert not [1 for n, one in enumerate(named) for other in named[:n] if one.overlaps(other)]


@pytest.mark.parametrize("name", ["a.pdf", "a"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"can't draw .*\. Name a file that ends in .svg or .png"):
        check_plot(tmp_path / name)


def test_without_matplotlib_it_says_what_to_type(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **settings):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"drawing needs matplotlib. pip install 'clipfuse\[plot\]'"):
        check_plot(tmp_path / "a.svg")
