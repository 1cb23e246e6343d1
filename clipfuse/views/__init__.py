"""Views: fixed variants of an input, each with a feature table of its own. Adding one is one file and one entry here.

The input as it is has no view: it is simply the table without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipfuse.encoders import Modality
from clipfuse.errors import ConfigError
from clipfuse.registry import Registry
from clipfuse.views.view import View, random_numbers

__all__ = ["VIEWS", "View", "ViewFamily", "find_view", "parse_views", "random_numbers"]

MAX_CROPS = 100
MAX_DEGREES = 45
MAX_SYNONYMS = 100
_NUMBER = re.compile(r"[0-9]{1,2}(\.[0-9]{1,4})?")  # as many digits as a view's name shows


@dataclass(frozen=True)
class ViewFamily:
    """The views of one kind.

    Attributes:
        modality: what they take and give.
        example: what a user may type.
        about: one line for lists and help.
        make: (number after the colon or None, word list or None) -> views.
    """

    modality: Modality
    example: str
    about: str
    make: Callable[[str | None, Path | None], tuple[View, ...]]


VIEWS: Registry[ViewFamily] = Registry("view")


def parse_views(names: Sequence[str], word_list: Path | None = None) -> tuple[View, ...]:
    """The views that ``names`` ask for, in their order, each once.

    Args:
        names: "flip", "rotate" (as rotate:10), "rotate:DEGREES", "crops:N" (crop-1 to crop-N), "synonyms:N",
            "word-dropout:P".
        word_list: groups of synonyms, one a line; None: the list that ships. Read only where synonyms are asked for.

    Raises:
        UnknownName: no such view.
        ConfigError: a number is missing, out of its range or none; the word list can't be used.
    """
    views: dict[str, View] = {}
    for name in names:
        kind, colon, number = name.strip().partition(":")
        for view in VIEWS.get(kind).make(number if colon else None, word_list):
            views.setdefault(view.settings(), view)
    return tuple(views.values())


def find_view(name: str, settings: str, word_list: Path | None = None) -> View:
    """The view that a feature table was made with.

    Args:
        name: what a table's name says after "@": "flip", "rotate-10", "crop-3".
        settings: of that view.
        word_list: as in ``parse_views``.

    Raises:
        ConfigError: there is no such view any more, or it is made otherwise now, or with another word list.
    """
    kind, _, number = name.rpartition("-")
    typed = {"crop": f"crops:{number}"}.get(kind, f"{kind}:{number}" if kind else name)
    try:
        found = parse_views([typed], word_list)
    except ConfigError:
        found = ()
    view = next((view for view in found if view.name == name), None)
    if view is None or view.settings() != settings:
        now = "nothing of that name" if view is None else view.settings()
        raise ConfigError(
            f"view {name} was made with {settings!r}; here it is {now!r}",
            "Give the word list that it was made with: --word-list FILE" if kind == "synonyms" else "",
        )
    return view


def _flip(number: str | None, _word_list: Path | None) -> tuple[View, ...]:
    from clipfuse.views.flip import Flip

    if number is not None:
        raise ConfigError(f"view 'flip:{number}': flip takes no number", "Write flip")
    return (Flip(),)


def _rotate(number: str | None, _word_list: Path | None) -> tuple[View, ...]:
    from clipfuse.views.rotation import Rotation

    if number is None:
        return (Rotation(10.0),)
    degrees = float(number) if _NUMBER.fullmatch(number) else 0
    if not 0 < degrees <= MAX_DEGREES:
        expected = f"degrees above 0 and up to {MAX_DEGREES}, either way, with at most 4 decimals"
        raise ConfigError(f"view 'rotate:{number}': expected {expected}", "For example rotate:10")
    return (Rotation(degrees),)


def _crops(number: str | None, _word_list: Path | None) -> tuple[View, ...]:
    from clipfuse.views.crop import Crop

    return tuple(Crop(index) for index in range(1, _count("crops", number, MAX_CROPS) + 1))


def _synonyms(number: str | None, word_list: Path | None) -> tuple[View, ...]:
    from clipfuse.views.synonyms import Synonyms
    from clipfuse.views.word_list import read_word_list

    return (Synonyms(_count("synonyms", number, MAX_SYNONYMS), read_word_list(word_list)),)


def _word_dropout(number: str | None, _word_list: Path | None) -> tuple[View, ...]:
    from clipfuse.views.word_dropout import WordDropout

    probability = float(number) if number is not None and _NUMBER.fullmatch(number) else 0
    if not 0 < probability < 1:
        typed = "word-dropout" if number is None else f"word-dropout:{number}"
        expected = "the probability of a word to be left out, above 0 and below 1, with at most 4 decimals"
        raise ConfigError(f"view {typed!r}: expected {expected}", "For example word-dropout:0.1")
    return (WordDropout(probability),)


def _count(kind: str, number: str | None, most: int) -> int:
    count = int(number) if number is not None and re.fullmatch("[0-9]{1,9}", number) else 0
    if not 1 <= count <= most:
        typed = kind if number is None else f"{kind}:{number}"
        raise ConfigError(f"view {typed!r}: expected a whole number from 1 to {most}", f"For example {kind}:2")
    return count


VIEWS.register("flip")(ViewFamily("image", "flip", "left and right change places", _flip))
VIEWS.register("rotate")(ViewFamily("image", "rotate:10", "turned by up to so many degrees either way", _rotate))
VIEWS.register("crops")(ViewFamily("image", "crops:4", "so many random crops of half the picture or more", _crops))
VIEWS.register("synonyms")(ViewFamily("text", "synonyms:2", "so many words replaced by synonyms", _synonyms))
VIEWS.register("word-dropout")(
    ViewFamily("text", "word-dropout:0.1", "each word left out with that probability", _word_dropout)
)
