"""Pictures and captions of unusual size: very small, narrow or huge; far shorter or longer than the others."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import ImageRef
from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import Subject
from clipfuse.inputs import Progress, cpu_count, no_progress

SMALLEST, NARROWEST, LARGEST = 64, 4.0, 50_000_000
"""Pixels of a picture's shorter side, its long side to its short one, pixels in all."""
_FAR = 5.0
"""Distance from the median of log lengths, in robust standard deviations."""
_BLOCK = 4096


def odd_pictures(subject: Subject, progress: Progress = no_progress) -> Finding:
    """Pictures that are very small, narrow, or huge, by their files' heads; the smallest first."""
    about = Finding(
        "odd-pictures",
        "Pictures of odd size",
        f"Pictures with a side below {SMALLEST} pixels, one side {NARROWEST:g} times the other or more, or more than"
        f" {LARGEST // 10**6} million pixels. Encoders squash them to a small square: icons, banners and empty scans"
        " say little.",
        "rows",
    )
    pictures = subject.pictures()
    if not pictures:
        return about.without("the pictures' files are not known here; name the table and --images")
    lines: list[tuple[Value, ...]] = []
    for row, size in _sizes(pictures, progress).items():
        width, height = size
        reasons = [f"a side below {SMALLEST}"] if min(size) < SMALLEST else []
        reasons += [f"{max(size) / min(size):.1f} times as long as wide"] if max(size) >= NARROWEST * min(size) else []
        reasons += ["very large"] if width * height > LARGEST else []
        if reasons:
            line = (width, height, "; ".join(reasons), subject.samples.ids[row], subject.role(row))
            lines.append((*line, subject.where(row), subject.caption(row)))
    lines.sort(key=lambda line: min(int(line[0] or 0), int(line[1] or 0)))
    return about.found(("width", "height", "why", "id", "role", "line", "caption"), lines, len(pictures))


def odd_captions(subject: Subject) -> Finding:
    """Captions far shorter or longer than the others, the farthest first."""
    about = Finding(
        "odd-captions",
        "Captions of odd length",
        f"Captions whose length is more than {_FAR:g} robust standard deviations from the median, on a logarithmic"
        " scale: rests of a row that was torn, or several texts in one. Encoders cut long ones.",
        "rows",
    )
    captions = subject.samples.captions
    rows = np.array([row for row, caption in enumerate(captions) if caption is not None], dtype=np.int64)
    if not len(rows):
        return about.without("there are no captions")
    lengths = np.array([len(captions[row] or "") for row in rows.tolist()])
    distance = far_from_usual(lengths)
    order = np.argsort(-np.abs(distance), kind="stable")
    lines: list[tuple[Value, ...]] = []
    for place in order[np.abs(distance[order]) > _FAR].tolist():
        row = int(rows[place])
        why = "very short" if distance[place] < 0 else "very long"
        line = (int(lengths[place]), why, subject.samples.ids[row], subject.role(row), subject.where(row))
        lines.append((*line, subject.caption(row)))
    detail = f"the median has {int(np.median(lengths)):,} characters"
    return about.found(("characters", "why", "id", "role", "line", "caption"), lines, len(rows), detail)


def far_from_usual(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Robust standard deviations of log lengths from their median, (rows,)."""
    logs = np.log(np.maximum(lengths, 1))
    centre = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - centre))
    return np.asarray((logs - centre) / max(float(spread), 0.1), dtype=np.float64)


def _sizes(pictures: Mapping[int, ImageRef], progress: Progress) -> dict[int, tuple[int, int]]:
    """Width and height of those that can be read; the others stand among the missing parts."""
    found: dict[int, tuple[int, int]] = {}
    rows = list(pictures)
    with ThreadPoolExecutor(min(8, 2 * cpu_count())) as pool:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            sizes = pool.map(lambda row: _size(pictures[row]), block)
            for done, (row, size) in enumerate(zip(block, sizes, strict=True), start=start + 1):
                if size is not None:
                    found[row] = size
                progress("looking at pictures", done, len(rows))
    return found


def _size(picture: ImageRef) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture.read())) as file:
            return file.size
    except Exception:  # on mangled files Pillow's parsers raise nearly anything
        return None
