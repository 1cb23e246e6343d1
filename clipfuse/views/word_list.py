"""Groups of words that may stand for each other in a caption."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from clipfuse.errors import ConfigError

SHIPPED = "synonyms.txt"
_FORM = "Write one group of synonyms a line, with commas between: couch, sofa"


@dataclass(frozen=True)
class WordList:
    """Groups of synonyms, lower case, each word in one group only, in order: of words as of groups."""

    groups: tuple[tuple[str, ...], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the groups: comments and the order of lines and words don't count."""
        return hashlib.sha256(json.dumps(self.groups).encode()).hexdigest()

    @cached_property
    def synonyms(self) -> dict[str, tuple[str, ...]]:
        """Word -> the others of its group."""
        return {word: tuple(other for other in group if other != word) for group in self.groups for word in group}


def read_word_list(path: Path | None = None) -> WordList:
    """The word list in ``path``, or the one that ships.

    UTF-8, one group of two or more words a line, commas between; "#" starts a comment. Upper case is read as lower
    case. An entry of several words ("fire engine") is put into captions, but not looked for in them.

    Raises:
        ConfigError: it can't be read, is not UTF-8, holds no group, a group of one, or a word twice.
    """
    file: Path | Traversable = path if path is not None else resources.files("clipfuse.views") / SHIPPED
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the word list {file} can't be read ({error.strerror or error})", _FORM) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the word list {file} is not UTF-8 (byte {error.start})", "Save it as UTF-8") from None
    groups: list[tuple[str, ...]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.partition("#")[0].strip().lower()
        if not content:
            continue
        words = [" ".join(word.split()) for word in content.split(",")]
        if len(words) < 2 or not all(words):
            raise ConfigError(f"{file}, line {number}: {content!r} is no group of two or more words", _FORM)
        for word in words:
            if word in seen:
                where = "twice" if seen[word] == number else f"in line {seen[word]} already"
                raise ConfigError(f"{file}, line {number}: {word!r} stands {where}", "Keep one of the two")
            seen[word] = number
        groups.append(tuple(sorted(words)))
    if not groups:
        raise ConfigError(f"the word list {file} holds no words", _FORM)
    return WordList(tuple(sorted(groups)))
