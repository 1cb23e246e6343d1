"""The report's figures. No text in them comes from the data: names stand beside them, in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.calibration import calibration_error
from clipfuse.report.curves import CUTS, common_f1_at, label_f1_at, precision_recall, reliability
from clipfuse.report.evidence import Evidence
from clipfuse.report.svg import FAINT, INK, look_of, marker_of, new_figure

_SMALL = 8
"""Points of the text in figures."""


def draw_key(number: int) -> Any:
    """The line and the marker of the run with that number."""
    figure, (axis,) = new_figure(0.5, 0.16)
    axis.set_axis_off()
    axis.plot([0, 1], [0, 0], **look_of(number))
    axis.plot([0.5], [0], markersize=4, **marker_of(number))
    figure.subplots_adjust(0, 0, 1, 1)
    return figure


def draw_intervals(
    lines: Sequence[tuple[str, int, float | None, Sequence[float] | None]], title: str, bar: float | None = None
) -> Any:
    """A dot and its interval a line, the first on top. ``lines``: a word of ours, the run's number, value, interval;
    ``bar``: a dotted line to compare with."""
    figure, (axis,) = new_figure(6.4, 0.42 + 0.22 * len(lines))
    for place, (_, number, value, span) in enumerate(lines):
        if span is not None:
            axis.plot(list(span), [place, place], **{**look_of(number), "linestyle": "-"})
        if value is not None:
            axis.plot([value], [place], markersize=5, **marker_of(number))
    if bar is not None:
        axis.axvline(bar, color=INK, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set_xlabel(title, fontsize=_SMALL)
    axis.grid(visible=False, axis="y")
    figure.subplots_adjust(0.17, 0.36 / figure.get_figheight(), 0.97, 0.98)
    return figure


def draw_label(label: int, runs: Sequence[Evidence]) -> Any:
    """One label's precision-recall curve, and its F1 by threshold with the chosen point, of every run."""
    figure, (curve, cuts) = new_figure(3.5, 1.65, (1, 1))
    for one in runs:
        said, truth = one.probabilities[:, label], one.targets[:, label]
        look, marker = look_of(one.number), {**marker_of(one.number), "markersize": 5, "linestyle": "none"}
        threshold, chosen = float(one.thresholds[label]), one.chosen[:, label]
        if truth.any():
            found = precision_recall(said, truth)
            # step by step: between two points nothing can be chosen
            curve.step(
                np.append(0, found.recall), np.append(found.precision[:1], found.precision), where="post", **look
            )
            if chosen.any():
                hits = (chosen & truth).sum()
                curve.plot([hits / truth.sum()], [hits / chosen.sum()], **marker)
        cuts.plot(CUTS, label_f1_at(said, truth), **look)
        cuts.plot([threshold], label_f1_at(said, truth, np.array([threshold])), **marker)
    for axis, bottom, side in ((curve, "recall", "precision"), (cuts, "threshold", "F1")):
        _unit_square(axis)
        axis.set_xlabel(bottom, fontsize=_SMALL, labelpad=1)
        axis.set_ylabel(side, fontsize=_SMALL, labelpad=2)
    figure.subplots_adjust(0.105, 0.215, 0.985, 0.965, wspace=0.36)
    return figure


def draw_common_thresholds(one: Evidence) -> Any:
    """Micro and macro F1 under one threshold for all labels: on the rows that chose it, where there are such, and on
    the test rows; a tick at the foot for each label's threshold."""
    figure, (axis,) = new_figure(3.5, 2.3)
    rule = one.run.config.empty_rows
    lines: list[tuple[str, Any, NDArray[Any], NDArray[np.bool_]]] = [("test", "-", one.probabilities, one.targets)]
    if one.tuned is not None:
        lines.append(("validation", (0, (4, 2)), *one.tuned))
    look = look_of(one.number)
    for name, dashes, said, truth in lines:
        micro, macro = common_f1_at(said, truth, rule)
        axis.plot(CUTS, micro, color=look["color"], linestyle=dashes, linewidth=1.6, label=f"micro, {name}")
        axis.plot(CUTS, macro, color=INK, linestyle=dashes, linewidth=0.9, label=f"macro, {name}")
    thresholds = np.unique(one.thresholds)
    axis.plot(thresholds, np.full(len(thresholds), 0.02), "|", color=INK, markersize=9)
    if len(thresholds) == 1:
        micro, _ = common_f1_at(one.probabilities, one.targets, rule, thresholds)
        axis.plot(thresholds, micro, markersize=6, **marker_of(one.number))
    _unit_square(axis)
    axis.set_xlabel("threshold of all labels", fontsize=_SMALL)
    axis.set_ylabel("F1", fontsize=_SMALL)
    axis.legend(fontsize=6.5, frameon=False, loc="best")
    figure.subplots_adjust(0.115, 0.165, 0.985, 0.975)
    return figure


def draw_reliability(runs: Sequence[Evidence]) -> tuple[Any, list[float]]:
    """Share that is true by probability, of all cells, and how many cells there are; each run's calibration error."""
    figure, (axis, counts) = new_figure(6.4, 2.9, (1.15, 1))
    axis.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
    errors = []
    for one in runs:
        found = reliability(one.probabilities, one.targets)
        errors.append(calibration_error(one.probabilities, one.targets))
        look = look_of(one.number)
        spread = np.vstack([found.true - found.low, found.high - found.true]).clip(0)
        axis.errorbar(
            found.said,
            found.true,
            spread,
            elinewidth=0.8,
            markersize=3.5,
            marker=marker_of(one.number)["marker"],
            **look,
        )
        counts.step(found.said, found.cells, where="mid", **look)
    _unit_square(axis)
    axis.set_xlabel("probability that is said", fontsize=_SMALL)
    axis.set_ylabel("share that is true", fontsize=_SMALL)
    counts.set_yscale("log")
    counts.minorticks_off()
    counts.set_xlim(0, 1)
    counts.set_xlabel("probability that is said", fontsize=_SMALL)
    counts.set_ylabel("cells (log scale)", fontsize=_SMALL)
    figure.subplots_adjust(0.075, 0.135, 0.985, 0.975, wspace=0.24)
    return figure, errors


def draw_learning(records: Sequence[Mapping[str, Any]], number: int, best: int | None) -> Any:
    """One part's losses and validation F1 by epoch, a line for each training of it. ``best``: the epoch it keeps."""
    figure, (loss, score) = new_figure(3.5, 1.65, (1, 1))
    look = look_of(number)
    trainings: dict[Any, list[Mapping[str, Any]]] = {}
    for record in records:
        trainings.setdefault(record.get("repeat"), []).append(record)
    for those in trainings.values():
        _line(loss, those, "train_loss", color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)))
        _line(loss, those, "validation_loss", color=look["color"], linewidth=1.4)
        _line(score, those, "validation_f1", color=look["color"], linewidth=1.4)
    for axis, side in ((loss, "loss"), (score, "micro-F1 at 0.5")):
        if best is not None:
            axis.axvline(best, color=INK, linestyle=":", linewidth=1)
        axis.set_xlabel("epoch", fontsize=_SMALL, labelpad=1)
        axis.set_ylabel(side, fontsize=_SMALL, labelpad=2)
        axis.locator_params(axis="x", integer=True, nbins=4)
        axis.locator_params(axis="y", nbins=4)
    figure.subplots_adjust(0.135, 0.215, 0.985, 0.965, wspace=0.5)
    return figure


def _line(axis: Any, records: Sequence[Mapping[str, Any]], what: str, **look: Any) -> None:
    known = [(one["epoch"], one[what]) for one in records if isinstance(one.get(what), int | float)]
    if known:
        points: NDArray[np.float64] = np.array(known, dtype=np.float64)
        axis.plot(points[:, 0], points[:, 1], marker="." if len(known) == 1 else None, **look)


def _unit_square(axis: Any) -> None:
    axis.set_xlim(0, 1.02)
    axis.set_ylim(0, 1.02)
    axis.set_xticks([0, 0.5, 1])
    axis.set_yticks([0, 0.5, 1])
