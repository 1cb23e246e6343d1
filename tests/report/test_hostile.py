"""Captions, label names, ids and whatever else comes from files can hold anything; none of it becomes markup."""

import json
from dataclasses import replace

import pytest
from report.reading import Read, without_data

from clipfuse.doctor import Finding
from clipfuse.report import RowInputs, build_report
from clipfuse.report.health import health_section
from clipfuse.report.page import shown
from clipfuse.run import write_run
from clipfuse.run_content import ModelAbout, Outcome

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>alert(2)</script>",
    "</script><svg onload=alert(3)>",
    "javascript:alert(4)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]><![CDATA[",
    "&lt;b&gt; &amp;",
    "$x^2$ \\frac{1}{0} $",
    "\u202edetrever \u2066and\u200f more",
    "a\x00b\x1b[31mc\x7f\u0085",
    "👩‍👩‍👧‍👦 ﷽ Z͑͗ͤ̈a̴l̵g̷o",
    "https://example.org/a.js",
    "word " * 400 + "w" * 3000,
    "<iframe srcdoc='<script>alert(5)</script>'>",
    "<a href='data:text/html,x'>&#x3C;</a>",
    "' onmouseover='alert(6)",
    "\ud800 half",
)


@pytest.fixture(scope="module")
def pages(renamed):
    """The page with plain names, and the one with hostile ones."""
    return renamed([f"word {n}" for n in range(len(HOSTILE))]), renamed(HOSTILE)


@pytest.fixture(scope="module")
def renamed(scenes, tmp_path_factory):
    """``renamed(words)`` -> the page of a run whose labels, ids, captions, parts, split have these words."""

    def build(words):
        run, samples = scenes.runs["sum"], scenes.cache.samples()
        # files of ours hold UTF-8 only: half a character comes in by JSON at most
        whole = [word.encode("utf-8", "replace").decode() for word in words]
        labels = [f"{whole[n % len(whole)]}{n:02d}" for n in range(len(run.labels))]
        found = run.predictions()
        new = {name: f"{whole[n % len(whole)]}{n:03d}" for n, name in enumerate(found.ids)}
        metrics = json.loads(
            json.dumps({k: v for k, v in run.metrics.items() if k not in ("files", "format", "version")})
        )
        for scores in (metrics["scores"]["test"]["scores"], *(row["scores"] for row in metrics["trivial"])):
            for label, name in zip(scores["labels"], labels, strict=True):
                label["name"] = name
        metrics["split"]["name"], metrics["recipe"], metrics["device"] = whole[0], whole[-1], whole[1]
        metrics["leaks"] = [
            {"kind": "picture", "role": "test", "rows": 1, "first": [whole[2], whole[3]], "looked_at": 1}
        ]
        folder = tmp_path_factory.mktemp("run")
        (folder / "model").mkdir()
        history = [{"part": words[n % len(words)], "epoch": 1 + n // 19, "train_loss": 1.0} for n in range(38)]
        thresholds, layout = run.thresholds(), json.loads((run.path / "model/model.json").read_bytes())["layout"]
        about = ModelAbout(run.streams, tuple(labels), layout, own=run.own)
        predictions = replace(found, ids=tuple(new[name] for name in found.ids))
        outcome = Outcome(None, thresholds, predictions, metrics, history, frozenset())
        written = write_run(folder, run.config, about, outcome, environment={})
        captions = tuple(whole[n % len(whole)] for n in range(len(samples)))
        known = replace(samples, ids=tuple(new[name] for name in samples.ids), captions=captions)
        about = {"unit": "rows", "looked_at": 3, "count": len(words), "columns": ("id", "n", "x")}
        finding = Finding("x", words[0], words[1], rows=tuple((word, 1, 0.5) for word in words[:8]), **about)
        return Read(build_report([written], RowInputs(known), health=health_section([finding]), shown=12))

    return build


def test_the_page_is_built_as_if_all_names_were_plain(pages):
    plain, hostile = pages
    assert hostile.tags() == plain.tags()
    assert len(hostile.named("script")) == 1 and hostile.named("script")[0].text == plain.named("script")[0].text
    names = {(element, name) for element, name, _ in plain.attributes()}
    assert {(element, name) for element, name, _ in hostile.attributes()} == names
    assert not [value for _, name, value in hostile.attributes() if name in ("href", "src") and "alert" in value]
    assert not [value for _, _, value in hostile.attributes() if "alert" in value or "example.org" in value]


def test_the_names_can_be_read(pages):
    _, page = pages
    words = page.words()
    for text in (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}{% raw %}",
        "&lt;b&gt; &amp;",
    ):
        assert text in words
    assert "a␀b␛[31mc��" in words  # control characters are shown, not written
    assert not set(page.text) & {*map(chr, range(9)), "\x1b", "\x7f", "\x85"}
    assert len(without_data(page.text)) < 2_000_000
    for element in page.elements:  # what may turn the reading order is shut in
        if element.text and "\u202e" in element.text:
            assert element.tag.endswith("}bdi")


def test_shown():
    assert shown("a\tb\nc") == "a b c" and shown("\ud83d") == "\ufffd" and shown(3) == "3" and shown("é 👍") == "é 👍"
