"""Names beside points, so that they cover neither each other nor the points, and no line where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_POINT = 5
"""Half the side of a marker, in points of 1/72 inch."""
_NEAR = ((7, 4), (7, -11), (-7, 4), (-7, -11), (0, 8), (0, -16))
_FAR = tuple((side * x, y) for x in (18, 34, 54) for y in (16, -24, 34, -42) for side in (1, -1))
"""Where a name may stand, in points from its point, the best place first; to those far off leads a line."""
_NOTHING = 0.5
"""Pixels that may be covered: rounding."""

Line = tuple[tuple[float, float], tuple[float, float]]
"""A horizontal or vertical one, by its ends in the panel's data."""


@dataclass(frozen=True)
class Label:
    """A name, its point in the panel's data, and whether it has to be there, room or not."""

    text: str
    point: tuple[float, float]
    is_needed: bool = False


def place_labels(panel: Any, labels: Sequence[Label], lines: Sequence[Line] = ()) -> int:
    """Write the names into a panel that is laid out, the first ones first, and return how many found no room."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = panel.figure.canvas.get_renderer()
    half = _POINT * panel.figure.dpi / 72
    taken: list[Any] = []
    for label in labels:
        x, y = panel.transData.transform(label.point)
        taken.append(Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half))
    crossed = [Bbox(panel.transData.transform(line)).padded(1) for line in lines]
    inside = panel.get_window_extent(renderer)
    left_out = 0
    for label in labels:
        tried: list[tuple[float, float, int, Any, Any]] = []
        for offset in (*_NEAR, *_FAR):
            text = _annotate(panel, label, offset)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # an annotation's own would hold its line, too
            covered = _covered(box, taken) + box.width * box.height - _covered(box, [inside])
            tried.append((round(covered, 1), round(_covered(box, crossed), 1), len(tried), text, box))
            text.set_visible(False)
            if covered <= _NOTHING and _covered(box, crossed) <= _NOTHING:
                break
        covered, _, _, text, box = min(tried, key=lambda one: one[:3])
        for *_, other, _ in tried:
            if other is not text:
                other.remove()
        if covered > _NOTHING and not label.is_needed:
            text.remove()
            left_out += 1
            continue
        text.set_visible(True)
        taken.append(box)
    return left_out


def _annotate(panel: Any, label: Label, offset: tuple[int, int]) -> Any:
    right = offset[0]
    line = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    text = panel.annotate(
        label.text,
        label.point,
        xytext=offset,
        textcoords="offset points",
        ha="left" if right > 0 else "right" if right < 0 else "center",
        fontsize="small",
        arrowprops=line if offset in _FAR else None,
        zorder=4,
    )
    text.set_in_layout(False)
    return text


def _covered(box: Any, others: Sequence[Any]) -> float:
    """The area that a box shares with others, in pixels."""
    from matplotlib.transforms import Bbox

    shared = [Bbox.intersection(box, other) for other in others]
    return float(sum(both.width * both.height for both in shared if both is not None))
