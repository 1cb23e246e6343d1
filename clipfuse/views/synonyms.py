"""A caption that says the same in other words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from clipfuse.encoders import Modality
from clipfuse.views.view import random_numbers
from clipfuse.views.word_list import WordList

_NOT_SPACE = re.compile(r"(\S+)")
_OTHER_PLURAL = re.compile(r".*([sxz]|[cs]h|[^aeiou][yo]|[^f]fe|[^f]f|(?<!hu)man|men|child|people|person|craft)")
# irregular; of things that are not counted; and those to which -s makes another word (news, besides, olds, rounds)
_NO_PLURAL = frozenset(
    {"foot", "tooth", "goose", "mouse", "sheep", "deer", "luggage", "baggage", "equipment", "furniture", "clothing"}
    | {"new", "near", "beside", "old", "round", "single", "odd", "metal"}
)
_VOWEL_SOUND = re.compile(r"(?!u(ni|s[ea]|te|k|r[io])|eu|ewe|one\b)[aeiou]|hour|hono|honest|8|1[18]\b")


@dataclass(frozen=True)
class Synonyms:
    """``count`` words of a caption, drawn at random, each replaced by another of its group; fewer where fewer can be.

    Capitals and the punctuation around a word stay. A word that is not in the list but is one's plural in -s gets
    another plural in -s. "a" and "an" before a word follow its first sound.
    """

    count: int
    words: WordList
    modality: ClassVar[Modality] = "text"

    @property
    def name(self) -> str:
        """ "synonyms-2"."""
        return f"synonyms-{self.count}"

    def settings(self) -> str:
        """See :class:`clipfuse.views.View`."""
        return f"synonyms version=1 count={self.count} words={self.words.digest}"

    def apply(self, item: str, digest: bytes) -> str:
        """A caption with its white space as it was."""
        pieces = _NOT_SPACE.split(item)  # space, word, space, ..., word, space
        choices = {place: found for place in range(1, len(pieces), 2) if (found := self._choices(pieces[place]))}
        draw = random_numbers(self.settings(), digest).random
        order = {place: draw() for place in choices}
        for place in sorted(choices, key=order.__getitem__)[: self.count]:
            new = choices[place][int(draw() * len(choices[place]))]
            pieces[place] = _swap(pieces[place], new)
            if place > 1 and pieces[place - 2].lower() in ("a", "an"):
                article = "an" if _VOWEL_SOUND.match(new) else "a"
                pieces[place - 2] = _capitals(pieces[place - 2])(article)
        return "".join(pieces)

    def _choices(self, piece: str) -> tuple[str, ...]:
        """What may stand for the word in ``piece``, lower case."""
        word, synonyms = _core(piece), self.words.synonyms
        if word in synonyms:
            return synonyms[word]
        if word.endswith("s") and _has_plural_in_s(word[:-1]):
            return tuple(f"{other}s" for other in synonyms.get(word[:-1], ()) if _has_plural_in_s(other))
        return ()


def _split(piece: str) -> tuple[str, str, str]:
    """What stands before the word in ``piece``, the word, and what stands after it."""
    letters = [place for place, sign in enumerate(piece) if sign.isalnum()]
    if not letters:
        return piece, "", ""
    first, end = letters[0], letters[-1] + 1
    return piece[:first], piece[first:end], piece[end:]


def _core(piece: str) -> str:
    return _split(piece)[1].lower()


def _swap(piece: str, new: str) -> str:
    """``piece`` with another word, capitals as before."""
    before, old, after = _split(piece)
    return before + _capitals(old)(new) + after


def _capitals(old: str) -> Callable[[str], str]:
    if len(old) > 1 and old.isupper():
        return str.upper
    return _capitalise if old[:1].isupper() else str


def _capitalise(word: str) -> str:
    return word[:1].upper() + word[1:]  # str.capitalize would make the rest small


def _has_plural_in_s(word: str) -> bool:
    """Not box, city, knife, woman, person: their plural is none in -s alone, or none that a rule tells."""
    return bool(word) and word not in _NO_PLURAL and _OTHER_PLURAL.fullmatch(word) is None
