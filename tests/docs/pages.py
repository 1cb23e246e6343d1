"""The pages of the documentation, and their blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LINKED = (*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "cache" / "FORMAT.md")
LANGUAGES = ("python", "sh", "toml", "text")
_BLOCK = re.compile(r"(?:^<!-- not run: (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        page: its file.
        line: of its first line of code.
        language: what stands behind the fence.
        code: what is in it.
        reason: why it is not run; None where it is.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def name(self) -> str:
        """Page and line."""
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All blocks, in order."""
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[2], found[3], found[1])
        for found in _BLOCK.finditer(text)
    ]
