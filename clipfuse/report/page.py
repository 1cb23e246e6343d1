"""From content to one HTML file that loads nothing and runs nothing but its own few lines for sorting.

Everything goes through Jinja2 with autoescape; the only texts that go in as they are, are ours: the style sheet, the
script and the figures' SVG, in which nothing comes from the data. A policy in the page forbids whatever else could run
or load, by the digests of that style sheet and script.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from clipfuse.errors import ConfigError
from clipfuse.report.content import Page

_HERE = Path(__file__).parent / "templates"
_CONTROL: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32)},  # the pictures of control characters
    **dict.fromkeys(map(ord, "\t\n\r"), " "),
    **dict.fromkeys(range(0x7F, 0xA0), "�"),
    **dict.fromkeys(range(0xFFFE, 0x10000), "�"),
}
_LONE = re.compile("[\ud800-\udfff]")


def check_report() -> None:
    """Make sure that what a report is made with is there. Raises ConfigError where it is not."""
    try:
        import jinja2  # noqa: F401
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"a report needs {error.name}", "pip install 'clipfuse[report]'") from error


def render(page: Page) -> bytes:
    """The page in UTF-8."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    environment.filters["drawn"] = Markup  # figures only
    style = _ours("style.css") + page.css
    script = _ours("sort.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("page.html.j2")
    text = template.render(page=page, policy=policy, style=Markup(style), script=Markup(script))
    return text.encode("utf-8")


def shown(text: object) -> str:
    """Text as it can stand in a page: control characters as pictures of themselves, halves of characters replaced."""
    return _LONE.sub("�", str(text)).translate(_CONTROL)


def _ours(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
