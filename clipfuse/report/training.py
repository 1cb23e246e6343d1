"""How the trainings went, where labels are cut, and how far probabilities can be taken at their word."""

from __future__ import annotations

from clipfuse.report.content import Drawing, Drawings, Part, Section, Words
from clipfuse.report.evidence import Evidence, Group
from clipfuse.report.figures import draw_common_thresholds, draw_learning, draw_reliability
from clipfuse.report.svg import SvgSheet

_DRAWN = 12
"""Parts with learning curves, for each run: an ensemble has many."""


def learning_section(group: Group, sheet: SvgSheet) -> Section:
    """Loss and validation F1 by epoch, part by part."""
    parts: list[Part] = []
    for one in group.runs:
        title = f"{one.letter}  {one.run.name}"
        of_part: dict[str, list[int]] = {}
        for place, record in enumerate(one.history):
            of_part.setdefault(str(record.get("part") or one.run.metrics["kind"]), []).append(place)
        if not of_part:
            parts.append(Words("Nothing was trained by epochs here, or its history is not there.", title=title))
            continue
        drawings = []
        for name, places in list(of_part.items())[:_DRAWN]:
            records = [one.history[place] for place in places]
            best = one.run.metrics.get("best_epochs", {}).get(name)
            svg = sheet.take(draw_learning(records, one.number, best), "losses and validation micro-F1 by epoch")
            kept = "" if best is None else f"epoch {best} is kept"
            drawings.append(Drawing(svg, name, kept))
        more = len(of_part) - len(drawings)
        parts.append(Drawings(tuple(drawings), title, f"… and {more} parts more" if more else "", is_small=True))
    lead = "Dashed: training loss; solid: validation rows; dotted: the epoch that is kept."
    return Section(f"learning-{group.first.number}", "Learning curves", lead, tuple(parts))


def thresholds_section(group: Group, sheet: SvgSheet) -> Section:
    """F1 under one common threshold, and where the labels' thresholds are."""
    drawings = []
    for one in group.runs:
        svg = sheet.take(draw_common_thresholds(one), "micro and macro F1 by threshold, with the chosen ones")
        drawings.append(Drawing(svg, f"{one.letter}  {one.run.name}", _chosen(one)))
    lead = "One threshold for all labels. The ticks at the foot are the thresholds that were chosen."
    parts = (Drawings(tuple(drawings), is_small=True),)
    return Section(f"thresholds-{group.first.number}", "Thresholds", lead, parts)


def reliability_section(group: Group, sheet: SvgSheet) -> Section:
    """What is true of what is said to be probable."""
    figure, errors = draw_reliability(group.runs)
    each = "; ".join(f"{one.letter} {error:.3f}" for one, error in zip(group.runs, errors, strict=True))
    svg = sheet.take(figure, "share that is true by the probability that is said")
    lead = (
        "Of the cells (row × label) that are given 0.3, three in ten should be true: the dotted line. Bars are 95%"
        " intervals; below the line, a model is too sure."
    )
    drawing = Drawing(svg, detail=f"Expected calibration error: {each}")
    return Section(f"reliability-{group.first.number}", "Reliability", lead, (Drawings((drawing,)),))


def _chosen(one: Evidence) -> str:
    config, gain = one.run.config, (one.run.metrics.get("threshold_gain") or {}).get("micro_f1")
    how = f"thresholds {config.thresholds}, empty rows {config.empty_rows}"
    if not gain:
        return how
    return f"{how}: micro-F1 {gain['observed']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}) beside a plain 0.5"
