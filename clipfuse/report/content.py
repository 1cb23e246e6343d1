"""What a page shows, before it is one: sections of tables, figures, galleries and sentences, all of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipfuse.bench_cells import UNKNOWN


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is read.
        value: what it is sorted by; None sorts by the text.
        beside: said in a fainter hand: an interval, a share.
        bar: length of a bar under the text, within [0, 1].
        is_best: whether it stands out.
        shade: how dark its ground is, from 0 to 9; None for none.
    """

    text: str
    value: float | None = None
    beside: str = ""
    bar: float | None = None
    is_best: bool = False
    shade: int | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is set to the right."""
        return self.value is not None or self.text == UNKNOWN


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by every column. ``bodies``: groups of rows that stay together; each is sorted by
    itself. ``is_matrix``: headings stand upright."""

    headings: tuple[str, ...]
    bodies: tuple[tuple[tuple[Cell, ...], ...], ...]
    title: str = ""
    is_matrix: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure: its SVG, a title that may hold anything, and what is read below."""

    svg: str
    title: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Drawings:
    """Figures beside each other; ``is_small``: many of them."""

    drawings: tuple[Drawing, ...]
    title: str = ""
    detail: str = ""
    is_small: bool = False


@dataclass(frozen=True)
class Chip:
    """A label of a row: "right", "missed" (true, not chosen) or "wrong" (chosen, not true), and its probability."""

    kind: str
    name: str
    probability: float


@dataclass(frozen=True)
class Card:
    """One row of the data.

    Attributes:
        id: the row's.
        caption: None where it has none.
        picture: a thumbnail as a data URI; "" where there is none.
        no_picture: why not.
        why: what puts it here.
        chips: its labels, true and chosen ones.
    """

    id: str
    caption: str | None
    picture: str
    no_picture: str
    why: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class Gallery:
    """Rows as pictures."""

    cards: tuple[Card, ...]
    title: str
    detail: str = ""


@dataclass(frozen=True)
class Words:
    """Sentences. ``kind``: "note", "warning" or "settings" (folded, in a hand of equal widths)."""

    text: str
    kind: str = "note"
    title: str = ""


Part = Table | Drawings | Gallery | Words


@dataclass(frozen=True)
class Section:
    """``id``: where links go; ``lead``: how to read it."""

    id: str
    title: str
    lead: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Key:
    """A run, and the letter and look that stand for it in figures."""

    letter: str
    name: str
    kind: str
    svg: str


@dataclass(frozen=True)
class Page:
    """All of it. ``css``: the figures' own classes."""

    title: str
    subtitle: str
    keys: Sequence[Key]
    sections: Sequence[Section]
    css: str


def number(value: float | None, digits: int = 3, *, bar: float | None = None, beside: str = "") -> Cell:
    """A cell with a number, or with a dash where it is not known."""
    return Cell(UNKNOWN) if value is None else Cell(f"{value:,.{digits}f}", float(value), beside, bar)
