"""A report of some runs: gathered, drawn, and written as one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from clipfuse.report.content import Key, Page, Section
from clipfuse.report.evidence import Evidence, Group, gather
from clipfuse.report.figures import draw_key
from clipfuse.report.gallery import gallery_section
from clipfuse.report.labels import curves_section, labels_section, together_section
from clipfuse.report.page import check_report, render
from clipfuse.report.row_inputs import RowInputs
from clipfuse.report.scores import modalities_section, scores_section
from clipfuse.report.svg import SvgSheet
from clipfuse.report.trained import trained_section
from clipfuse.report.training import learning_section, reliability_section, thresholds_section
from clipfuse.run import Run
from clipfuse_cache.atomic import write_bytes

SHOWN = 12
"""Rows of each kind that a run's gallery shows."""


def build_report(runs: Sequence[Run], inputs: RowInputs, *, shown: int = SHOWN, health: Section | None = None) -> bytes:
    """One HTML file about some runs.

    Runs that were scored on the same rows stand side by side, others below each other.

    Args:
        runs: at least one.
        inputs: where the pictures and captions are that are shown.
        shown: rows of each kind in each run's gallery.
        health: a section about the data, see :func:`clipfuse.report.health.health_section`.

    Raises:
        ConfigError: jinja2 or matplotlib is missing.
        RunError: a run is damaged.
    """
    check_report()
    groups = gather(runs)
    sheet = SvgSheet()
    sections = [trained_section(groups)]
    for number, group in enumerate(groups, start=1):
        makers: tuple[Callable[[Group], Section | None], ...] = (
            lambda one: scores_section(one, sheet),
            labels_section,
            lambda one: curves_section(one, sheet),
            lambda one: thresholds_section(one, sheet),
            lambda one: reliability_section(one, sheet),
            lambda one: learning_section(one, sheet),
            lambda one: modalities_section(one, sheet),
            together_section,
            lambda one: gallery_section(one, inputs, shown),
        )
        found = [section for make in makers if (section := make(group)) is not None]
        sections += [_numbered(section, number, group) if len(groups) > 1 else section for section in found]
    if health is not None:
        sections.append(health)
    every = sorted((one for group in groups for one in group.runs), key=lambda one: one.number)
    keys = [_key(one, sheet) for one in every]
    names = every[0].run.name if len(every) == 1 else f"{len(every)} runs"
    made = f"{datetime.now().astimezone():%Y-%m-%d %H:%M}"
    return render(Page(f"clipfuse report: {names}", f"made {made}", keys, sections, sheet.css))


def write_report(path: Path, content: bytes) -> None:
    """Write it, complete or not at all. Raises DiskFull, CacheError."""
    write_bytes(path, content)


def _numbered(section: Section, number: int, group: Group) -> Section:
    letters = ", ".join(one.letter for one in group.runs)
    split = group.first.run.metrics["split"]["name"]
    title = f"{section.title}: {letters} (rows {number}, split {split})"
    return Section(section.id, title, section.lead, section.parts)


def _key(one: Evidence, sheet: SvgSheet) -> Key:
    svg = sheet.take(draw_key(one.number), f"line and marker of {one.letter}")
    return Key(one.letter, one.run.name, str(one.run.metrics["kind"]), svg)
