"""A report as a browser would read it."""

import re

import html5lib

HTML = "{http://www.w3.org/1999/xhtml}"


class Read:
    """The tree that the standard's own algorithm makes of a page."""

    def __init__(self, content: bytes) -> None:
        self.text = content.decode("utf-8")
        self.root = html5lib.parse(content, transport_encoding="utf-8")
        self.elements = [one for one in self.root.iter() if isinstance(one.tag, str)]

    def named(self, tag):
        """Elements of that name, in or out of SVG."""
        return [one for one in self.elements if one.tag.rpartition("}")[2] == tag]

    def tags(self):
        """Names of all elements, in order."""
        return [one.tag.rpartition("}")[2] for one in self.elements]

    def words(self, element=None):
        """What is read of an element, single spaces between."""
        return " ".join("".join((self.root if element is None else element).itertext()).split())

    def section(self, start):
        """The section whose id begins so."""
        return next(one for one in self.named("section") if one.get("id").startswith(start))

    def tables(self, start):
        """Of that section: each table's rows, as lists of what is read."""
        return [
            [[self.words(cell) for cell in row] for row in table.iter(f"{HTML}tr")]
            for table in self.section(start).iter(f"{HTML}table")
        ]

    def attributes(self):
        """(element name, attribute name, value) of everything."""
        return [
            (one.tag.rpartition("}")[2], str(name).rpartition("}")[2], value)
            for one in self.elements
            for name, value in one.attrib.items()
        ]


def without_data(text):
    """The page without the thumbnails' letters, in which anything may stand by chance."""
    return re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", text)
