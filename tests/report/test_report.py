"""Pages of real runs: what they show, and what they can't do."""

import base64
import hashlib
import io
import re

import numpy as np
import pytest
from PIL import Image
from report.reading import Read, without_data
from stage_two import small

from clipfuse.bench_columns import SCORES
from clipfuse.config import SplitConfig, TableConfig
from clipfuse.cross_validate import cross_validate
from clipfuse.data import load_dataset
from clipfuse.report import RowInputs, build_report
from clipfuse.report.evidence import gather
from clipfuse.splits import find_cross_validation
from clipfuse.train_head import train_head

pytestmark = pytest.mark.usefixtures("_quick_intervals")


@pytest.fixture(scope="module")
def inputs(scenes):
    dataset = load_dataset(TableConfig(table=scenes.table, images=scenes.images))
    return RowInputs(scenes.cache.samples(), dataset)


@pytest.fixture(scope="module")
def page(scenes, inputs):
    runs = [scenes.runs[name] for name in ("sum", "image", "knn")]
    return Read(build_report(runs, inputs, shown=4))


def test_scores_stand_beside_the_trivial_rows(page, scenes):
    (scores, differences), run = page.tables("scores"), scenes.runs["sum"]
    trivial, values = run.metrics["trivial"], run.metrics["scores"]["test"]
    assert [row[1] for row in scores[1:]] == [one["name"] for one in trivial] + [
        f"{scenes.runs[name].name} ({kind})"
        for name, kind in (("sum", "sum"), ("image", "image"), ("knn", "knn-concat"))
    ]
    assert scores[0][2:] == list(SCORES.values())
    low, high = values["intervals"]["micro_f1"]
    assert scores[1 + len(trivial)][2] == f"{values['scores']['micro_f1']:.3f} {low:.3f}–{high:.3f}"
    assert scores[1][2] == "0.000 0.000–0.000"
    assert [row[1] for row in differences[1:]] == [scenes.runs[name].name for name in ("image", "knn")]


def test_what_was_trained_on_what(page, scenes):
    (table,) = page.tables("trained")
    rows = scenes.runs["sum"].metrics["rows"]
    assert [row[0] for row in table[1:]] == ["A", "B", "C"]
    assert table[1][4:7] == [f"{rows[role]:,}" for role in ("train", "validation", "test")]
    assert "have no picture" in page.words(page.section("trained"))
    assert 'kind = "sum"' in page.words(page.section("trained"))  # every setting


def test_labels_are_sorted_and_have_bars(page, scenes):
    (table,) = page.tables("labels")
    labels = {one["name"]: one for one in scenes.runs["sum"].metrics["scores"]["test"]["scores"]["labels"]}
    assert {row[0] for row in table[1:]} == set(labels)
    f1 = [float(row[2]) for row in table[1:]]
    assert f1 == sorted(f1, reverse=True) and len(set(f1)) > 1
    for row in table[1:]:
        known = labels[row[0]]
        ap = known["average_precision"]
        assert row[1] == str(known["support"]) and row[2] == f"{known['f1']:.3f}"
        assert row[5] == ("–" if ap is None else f"{ap:.3f}")
    widths = [float(one.get("width")) for one in page.section("labels").iter() if one.tag.endswith("rect")]
    assert f"{100 * max(f1):.1f}" in {f"{width:.1f}" for width in widths}


def test_modalities_and_labels_that_stand_together(page, scenes):
    (table,) = page.tables("modalities")
    assert [row[:2] for row in table[1:4]] == [["A", "image only"], ["A", "text only"], ["A", "both"]]
    truth, chosen, *_ = page.tables("together")
    (group,) = gather([scenes.runs["sum"]])
    counts = {row[0]: row[1:] for row in truth[1:]}
    first = truth[0][1:]
    for name, cells in counts.items():
        column = group.labels.index(name)
        assert cells[first.index(name)] == str(int(group.first.targets[:, column].sum()))
    assert len(chosen) == len(truth)


def test_mistakes_have_pictures_captions_truth_and_probabilities(page, scenes, inputs):
    (group,) = gather([scenes.runs["sum"]])
    one = group.first
    wrong = one.targets != one.chosen
    sure = (np.where(one.targets, 1 - one.probabilities, one.probabilities) * wrong).max(axis=1)
    worst = one.ids[int(np.argmax(sure))]
    card = page.section("gallery").find(".//{*}article")
    words = page.words(card)
    assert worst in words and (inputs.caption(worst) or "no caption") in words
    picture = card.find(".//{*}img")
    if picture is not None:
        data = picture.get("src").removeprefix("data:image/jpeg;base64,")
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= 192
    row = one.ids.index(worst)
    chips = [page.words(chip) for chip in card.iter() if chip.tag.endswith("}li")]
    for label in np.flatnonzero(one.targets[row] | one.chosen[row]).tolist():
        mark = "✗" if not one.targets[row, label] else "✓" if one.chosen[row, label] else "○"
        assert f"{mark} {one.run.labels[label]} {one.probabilities[row, label]:.3f}" in chips
    assert len(page.named("article")) == sum(
        min(4, int((e.targets != e.chosen).any(axis=1).sum())) + 4 for e in gather(list(scenes.runs.values()))[0].runs
    )


def test_pictures_that_are_not_there_or_not_those(scenes, inputs):
    from clipfuse.data.images import open_images

    having = next(name for name in inputs.samples.ids if inputs.thumbnail(name)[0])
    assert RowInputs(inputs.samples).thumbnail(having) == ("", "no table or pictures known")
    digests = inputs.samples.image_digests.copy()
    digests[list(inputs.samples.ids).index(having)] ^= 1
    from dataclasses import replace

    changed = RowInputs(replace(inputs.samples, image_digests=digests), inputs.dataset)
    assert changed.thumbnail(having) == ("", "another picture than the one that was encoded")
    lacking = [name for name in inputs.samples.ids if not inputs.thumbnail(name)[0]]
    assert lacking and {inputs.thumbnail(name)[1] for name in lacking} <= {"no picture", "picture not found"} | {
        why for name in lacking if (why := inputs.thumbnail(name)[1]).startswith("picture can't be shown")
    }
    assert inputs.thumbnail("nobody") == ("", "picture not found")
    by_id = RowInputs(images=open_images(scenes.images))
    assert by_id.thumbnail(next(iter(scenes.images.iterdir())).name)[0].startswith("data:image/jpeg;base64,")


def test_nothing_is_loaded_and_only_our_script_runs(page):
    (script,), (style,) = page.named("script"), page.named("style")
    policy = next(one.get("content") for one in page.named("meta") if one.get("http-equiv"))
    for element, what in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"{what} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    attributes = page.attributes()
    assert not [one for one in attributes if one[1] == "style" or one[1].startswith("on")]
    assert {value[:1] for _, name, value in attributes if name == "href"} == {"#"}
    assert {value[:16] for _, name, value in attributes if name == "src"} == {"data:image/jpeg;"}
    assert "://" not in without_data(page.text) and "@import" not in page.text
    assert not re.findall(r"url\((?!#f\d+-)", page.text)


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [one.get("id") for one in page.elements if one.get("id")]
    assert len(set(ids)) == len(ids)
    links = [value for _, name, value in page.attributes() if name == "href"]
    assert links and {link[1:] for link in links} <= set(ids)
    used = set(re.findall(r"url\(#([^)]+)\)", page.text))
    assert used and used <= set(ids)


def test_figures_take_the_readers_colours(page):
    drawn = [one for one in page.named("svg") if one.get("role") == "img"]
    assert len(drawn) > 10 and all(one.get("aria-label") for one in drawn)
    assert not re.search(r"#[0-9a-f]{6}", "".join(value for _, _, value in page.attributes()))
    css = page.named("style")[0].text
    assert {"var(--s0)", "var(--s1)", "currentColor"} <= set(re.findall(r"var\(--s\d\)|currentColor", css))
    assert "prefers-color-scheme: dark" in css and "@media print" in css
    classes = {name for one in drawn for part in one.iter() for name in part.get("class", "").split()}
    assert classes and all(f".{name}{{" in css for name in classes)


def test_runs_of_other_rows_stand_below(toy, scenes, tmp_path):
    other = train_head(toy.cache, toy.samples, toy.split(), small("image"), runs=tmp_path)
    page = Read(build_report([scenes.runs["image"], other], RowInputs(), shown=2))
    assert [one.get("id") for one in page.named("section") if one.get("id").startswith("scores")] == [
        "scores-0",
        "scores-1",
    ]
    assert "Scores: B (rows 2, split" in page.words(page.section("scores-1"))
    assert not [one for one in page.named("section") if one.get("id").startswith("modalities")]
    assert "no table or pictures known" in page.words(page.section("gallery-1"))


def test_ways_to_train_that_keep_less(build_toy, tmp_path):
    """A cross-validation, an ensemble with thresholds of its own, and a single label that no test row has."""
    toy = build_toy(tmp_path / "cache", rows=90)
    deals = [find_cross_validation(toy.cache, toy.samples, 3, SplitConfig(), None)]
    many = cross_validate(toy.cache, toy.samples, deals, small("image", thresholds="per-label"), runs=tmp_path / "runs")
    ensemble = small("text", ensemble={"kind": "seeds", "size": 2}, thresholds="common", calibration="platt")
    averaged = train_head(toy.cache, toy.samples, toy.split(), ensemble, runs=tmp_path / "runs")
    page = Read(build_report([many, averaged], RowInputs(toy.samples)))
    words = page.words()
    assert "A: a cross-validation" in words and "±" in page.tables("scores-0")[0][-1][2]
    assert "member 1" in page.words(page.section("learning-1"))
    assert "thresholds common, empty rows nothing" in words

    one = build_toy(tmp_path / "one", rows=60, labels=1)
    split = one.split()
    tested = np.isin(list(one.ids), split.roles["test"])
    one = one.with_samples(labels=one.samples.labels & ~tested[:, None])
    run = train_head(one.cache, one.samples, split, small("image"), runs=tmp_path / "single")
    (run.path / "history.jsonl").unlink()
    page = Read(build_report([run], RowInputs(one.samples)))
    assert "together-0" not in page.text and "its history is not there" in page.words()
    assert page.tables("labels")[0][1][1:4] == ["0", "0.000", "–"]
