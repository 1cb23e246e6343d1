"""Relative links lead somewhere, to a heading where they name one."""

from __future__ import annotations

import re

import pytest
from pages import LINKED, PAGES, ROOT

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors_of(text):
    """The headings' anchors, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links(page):
    for target in _LINK.findall(page.read_text("utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else page.parent / path
        assert found.exists(), f"{page.name} links to {target}"
        assert ROOT in found.resolve().parents, f"{target} leads out of the project"
        assert not anchor or anchor in anchors_of(found.read_text("utf-8")), f"{page.name} links to {target}"


def test_readme_leads_to_every_page():
    text = PAGES[0].read_text("utf-8")
    assert all(f"(docs/{page.name})" in text for page in PAGES[1:])
    assert all(f"({name})" in text for name in ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"))
