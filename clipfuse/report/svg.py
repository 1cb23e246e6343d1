"""matplotlib's figures as SVG that stands inside a page and takes its colours from it.

matplotlib writes each line's look into a style attribute, which the page's policy forbids, and knows no colours that
change with the reader's theme. So figures are drawn in colours that only stand for others, and here every style becomes
a class that all figures share, every such colour a variable of the page. Coordinates lose digits that nobody sees.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

INK, FAINT, GRID = "#000000", "#010101", "#020202"
SERIES = tuple(f"#0300{number:02x}" for number in range(8))
"""Colours to draw with: of text and axes, of what is beside the point, of the grid, of the first, second, … run."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))
"""Line styles of the runs, so that nothing hangs on colours alone."""
MARKERS = "osD^vP"

_VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
}
_LONG = re.compile(r"(\d+\.\d)\d+")
_FONT = re.compile(r"font-family:[^;]*;?\s*")
_HASH = re.compile(r"#[0-9a-f]{6}\b")
_HREF = "{http://www.w3.org/1999/xlink}href"
_DROPPED = ("metadata", "style")


class SvgSheet:
    """Turns figures into SVG, and collects the styles of all of them: :attr:`css`."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._figures = 0

    @property
    def css(self) -> str:
        """The classes of the figures so far."""
        return "\n".join(f".{name}{{{style}}}" for style, name in self._classes.items())

    def take(self, figure: Any, said: str) -> str:
        """A figure's SVG, without any attribute that styles or loads. ``said``: what it shows, for those who don't see
        it."""
        from matplotlib import rc_context

        out = io.BytesIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "clipfuse", "path.simplify_threshold": 0.3}):
            figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
        root = ElementTree.fromstring(out.getvalue())
        self._figures += 1
        self._clean(root, f"f{self._figures}-")
        _, _, width, height = root.attrib["viewBox"].split()
        attributes = {"width": f"{float(width) * 4 / 3:.0f}", "viewBox": f"0 0 {width} {height}"}
        root.attrib.clear()
        root.attrib.update(attributes | {"role": "img", "aria-label": said})
        return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)

    def _clean(self, element: ElementTree.Element, prefix: str) -> None:
        element.tag = element.tag.rpartition("}")[2]
        element.text = (element.text or "").strip() or None
        element.tail = None
        for child in list(element):
            if child.tag.rpartition("}")[2] in _DROPPED:
                element.remove(child)
            else:
                self._clean(child, prefix)
        found = dict(element.attrib)
        element.attrib.clear()
        for name, value in found.items():
            if name == "style":
                element.set("class", self._class_of(value))
            elif name == "id":
                if element.tag != "g":
                    element.set("id", prefix + value)
            elif name == _HREF:
                element.set("href", f"#{prefix}{value.removeprefix('#')}")
            elif name == "clip-path":
                element.set(name, value.replace("url(#", f"url(#{prefix}"))
            elif name == "transform":
                if not value.startswith("rotate(-0 "):
                    element.set(name, _LONG.sub(r"\1", value))
            elif not name.startswith("{"):
                element.set(name, _LONG.sub(r"\1", " ".join(value.split())))

    def _class_of(self, style: str) -> str:
        plain = _FONT.sub("", style).strip().rstrip(";")
        themed = _HASH.sub(lambda match: _VARIABLES.get(match[0], "currentColor"), plain)
        return self._classes.setdefault(themed, f"m{len(self._classes)}")


def new_figure(width: float, height: float, panels: Sequence[float] = (1,)) -> tuple[Any, list[Any]]:
    """An empty figure of so many inches, and its panels side by side with these relative widths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)  # without pyplot nothing global is touched
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=panels)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(FAINT)
        axis.tick_params(color=FAINT, labelsize=7.5, length=2.5, pad=2)
        axis.grid(visible=True, color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, list(axes)


def look_of(number: int) -> dict[str, Any]:
    """Colour and dashes of the run with that number."""
    return {"color": SERIES[number % len(SERIES)], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.4}


def marker_of(number: int) -> dict[str, Any]:
    """Colour and marker of the run with that number."""
    return {"color": SERIES[number % len(SERIES)], "marker": MARKERS[number % len(MARKERS)]}
