"""The pages' tables say what the code and the measurements say."""

from __future__ import annotations

import json
import re

from pages import ROOT

from clipfuse.encoders import ALIASES
from clipfuse.recipes import recipes

RESULTS = ROOT / "benchmarks" / "results"
ABSENT = "–"
UNSEEN = ("bert-base", "distilbert", "deberta-v3-small", "e5-base", "bge-small", "tinybert-4l-312", "shufflenet-v2-x2")
"""Encoders whose licence could not be looked up."""


def rows_of(page):
    """First cell of each row of a page's tables, if it is code -> the other cells."""
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
    return {first: others for first, *others in cells}


def result(name):
    return json.loads((RESULTS / name).read_text("utf-8"))


def short(value):
    """.826"""
    return ABSENT if value is None else f"{value:.3f}".removeprefix("0")


def test_recipes():
    shown = {name.strip("` "): cells for name, cells in rows_of("recipes.md").items()}
    measured = {(row["recipe"], row["loop"]): row for row in result("recipes-coco18-real.json")["rows"]}
    assert list(shown) == [recipe.name for recipe in recipes()]
    for recipe in recipes():
        source, *scores, numbers = shown[recipe.name]
        assert source == recipe.source
        for loop, score, seconds in (("report", *scores[:2]), ("clipfuse", *scores[2:])):
            row = measured.get((recipe.name, loop))
            if row is None:
                assert (score, seconds) == (ABSENT, ABSENT)
                continue
            spread = f" ± {short(row['± seeds'])}" if row["± seeds"] else ""
            assert score == short(row["micro-F1"]) + spread
            assert seconds == f"{row['train s']:.1f}"
            own = measured.get((recipe.name, "report"), row)
            assert numbers == f"{own['parameters']:,}"


def test_the_figures_in_words():
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    heads = result("heads-coco18-real.json")
    by_model = {row["model"]: row for row in heads["rows"]}
    assert f"most frequent label scores {short(heads['best_trivial']['micro_f1'])}" in page
    assert f"(`--fusion sum`) {short(by_model['sum']['micro-F1'])}" in page
    half = (by_model["sum"]["95% high"] - by_model["sum"]["95% low"]) / 2
    assert 0.011 < half < 0.014 and "±.013" in page
    rows = result("recipes-coco18-real.json")["rows_by_role"]
    assert (rows["train"], rows["validation"], rows["test"]) == (7200, 800, 1500)


def test_encoders():
    shown = {name.strip("` "): cells for name, cells in rows_of("encoders.md").items() if len(cells) == 8}
    timed = {row["encoder"]: row for row in result("reports.json")["times"]}
    assert list(shown) == list(ALIASES)
    for name, alias in ALIASES.items():
        reads, pixels, top, s1, s4, speed, parameters, licence = shown[name]
        row = timed.get(name, {})
        assert reads == ", ".join(alias.widths)
        assert pixels == (str(alias.pixels) if alias.pixels else ABSENT)
        assert re.fullmatch(rf"{ABSENT}|\d\d\.\d( \(zero-shot\))?", top)
        assert (s1, s4) == (short(row.get("S1's F1")), short(row.get("S4's F1")))
        assert speed == (f"{row['forward/s']:,.0f}" if row else ABSENT)
        assert parameters == f"{alias.parameters / 1e6:.1f}"
        assert licence == (ABSENT if name in UNSEEN else alias.licence)


def test_encoders_that_were_measured():
    page = (ROOT / "docs" / "encoders.md").read_text("utf-8")
    for names, file in (("`mini`", "mini"), ("`mobilenet-v2`, `minilm`", "real")):
        rows = {row["model"]: short(row["micro-F1"]) for row in result(f"heads-coco18-{file}.json")["rows"]}
        assert f"| {names} | {rows['image']} | {rows['text']} | {rows['sum']} |" in page
