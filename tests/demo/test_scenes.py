"""The demo draws what its docstrings say."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from clipfuse.demo import draw_dataset, scenes
from clipfuse.demo.scenes import THINGS
from clipfuse.errors import ConfigError

ROWS = 500


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("demo"), rows=ROWS)


@pytest.fixture(scope="module")
def rows(table):
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def state(path: Path) -> str:
    """missing, empty, text, truncated or whole."""
    if not path.exists():
        return "missing"
    if not path.stat().st_size:
        return "empty"
    if not path.read_bytes().startswith(b"\xff\xd8"):
        return "text"
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return "truncated"
    return "whole" if (image.size, image.mode, image.format) == ((160, 120), "RGB", "JPEG") else "odd"


def test_a_seed_gives_the_same_bytes_again(tmp_path):
    first, again = (digests(draw_dataset(tmp_path / name, rows=60, seed=3).parent) for name in ("a", "b"))
    assert first == again
    assert len(first) == 59  # 60 pictures, two of them missing, and the table


def test_another_seed_gives_other_pictures_and_captions(tmp_path):
    first, other = (digests(draw_dataset(tmp_path / str(seed), rows=40, seed=seed).parent) for seed in (3, 4))
    assert first["scenes.csv"] != other["scenes.csv"]
    same = {name for name in first.keys() & other.keys() if first[name] == other[name]}
    assert same <= {name for name in first if state(tmp_path / "3" / name) in ("empty", "text")}


def test_drawing_over_an_earlier_draw_leaves_no_trace_of_it(tmp_path):
    draw_dataset(tmp_path / "a", rows=40, seed=4)
    over = digests(draw_dataset(tmp_path / "a", rows=40, seed=3).parent)
    assert over == digests(draw_dataset(tmp_path / "b", rows=40, seed=3).parent)


def test_the_table_is_well_formed(table, rows):
    assert (table.name, len(rows)) == ("scenes.csv", ROWS)
    assert all(row.keys() == {"filename", "caption", "labels"} for row in rows)
    assert len({row["filename"] for row in rows}) == ROWS
    assert "\n\n" not in table.read_text(encoding="utf-8")
    for row in rows:
        labels = row["labels"].split("|") if row["labels"] else []
        assert set(labels) <= THINGS.keys()
        assert len(labels) == len(set(labels))
        assert row["caption"] == row["caption"].strip()
        assert not set("{}|\n") & set(row["caption"])
        assert len(row["caption"].split()) <= 35


def test_three_pictures_are_broken_and_two_missing_and_the_others_are_small_jpegs(table, rows):
    states = {row["filename"]: state(table.parent / "images" / row["filename"]) for row in rows}
    assert Counter(states.values()) == {"whole": ROWS - 5, "empty": 1, "truncated": 1, "text": 1, "missing": 2}
    assert all(row["caption"] for row in rows if states[row["filename"]] != "whole")


def test_five_percent_of_the_captions_are_missing(rows):
    assert sum(not row["caption"] for row in rows) == round(0.05 * ROWS)


def test_every_label_is_frequent_and_rows_have_several(rows):
    counts = Counter(label for row in rows for label in row["labels"].split("|") if label)
    assert 8 <= len(THINGS) <= 12
    assert counts.keys() == THINGS.keys()
    assert min(counts.values()) >= 0.05 * ROWS
    assert 1.8 <= sum(counts.values()) / ROWS <= 3
    assert sum("|" in row["labels"] for row in rows) > ROWS / 2


def test_captions_leave_labels_out_at_their_rates(rows):
    for label, thing in THINGS.items():
        captions = [row["caption"].lower() for row in rows if label in row["labels"].split("|") and row["caption"]]
        untold = sum(not any(words in caption for words in thing.words.split("|")) for caption in captions)
        assert untold / len(captions) == pytest.approx(thing.untold, abs=0.15), label


def test_pictures_hide_labels_at_their_rates(tmp_path, monkeypatch):
    seen = {label: [] for label in THINGS}
    monkeypatch.setattr(scenes, "_put", lambda *args: seen[args[3]].append(args[6]))
    draw_dataset(tmp_path, rows=ROWS)
    for label, thing in THINGS.items():
        assert sum(how is not None for how in seen[label]) / len(seen[label]) == pytest.approx(thing.hidden, abs=0.15)
    ways = Counter(how for hows in seen.values() for how in hows if how is not None)
    assert sorted(ways) == [0, 1, 2]
    assert all(count / ways.total() == pytest.approx(1 / 3, abs=0.08) for count in ways.values())


def test_too_few_rows_or_a_bad_seed_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="at least 20 rows, not 19"):
        draw_dataset(tmp_path / "new", rows=19)
    with pytest.raises(ConfigError, match="seed"):
        draw_dataset(tmp_path / "new", seed=-1)
    assert not (tmp_path / "new").exists()
