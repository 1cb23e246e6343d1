"""A caption with some of its words left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipfuse.encoders import Modality
from clipfuse.views.view import random_numbers

_NOT_SPACE = re.compile(r"(\S+)")


@dataclass(frozen=True)
class WordDropout:
    """Each word is left out with ``probability``, with the white space before it; one at least stays.

    Punctuation that stands alone is no word and stays.
    """

    probability: float
    modality: ClassVar[Modality] = "text"

    @property
    def name(self) -> str:
        """ "word-dropout-0.1"."""
        return f"word-dropout-{self.probability:g}"

    def settings(self) -> str:
        """See :class:`clipfuse.views.View`."""
        return f"word-dropout version=1 probability={float(self.probability)!r}"

    def apply(self, item: str, digest: bytes) -> str:
        """A caption with a word at least, where ``item`` has one."""
        pieces = _NOT_SPACE.split(item)  # space, word, space, ..., word, space
        words = [place for place in range(1, len(pieces), 2) if any(map(str.isalnum, pieces[place]))]
        if not words:
            return item
        draws = random_numbers(self.settings(), digest).random(len(words))
        dropped = draws < self.probability
        if dropped.all():
            dropped[np.argmax(draws)] = False
        gone = {place for place, drop in zip(words, dropped, strict=True) if drop}
        kept = [place for place in range(1, len(pieces), 2) if place not in gone]
        # the spaces around the caption stay, whichever word is first or last now
        return pieces[0] + pieces[kept[0]] + "".join(pieces[at - 1] + pieces[at] for at in kept[1:]) + pieces[-1]
