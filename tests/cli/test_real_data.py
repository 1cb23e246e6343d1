"""The two data sets that clipfuse is made for, where they are on this machine."""

import csv
import json
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
COCO, MEMES = DATA / "coco18", DATA / "semeval21"
needs_coco = pytest.mark.skipif(not COCO.exists(), reason=f"{COCO} is not there")
needs_memes = pytest.mark.skipif(not MEMES.exists(), reason=f"{MEMES} is not there")
ROWS = 120


def done(result):
    assert result.exit_code == 0, result.stderr
    return result


@needs_coco
def test_init_on_coco18(cli, tmp_path):
    table, images = COCO / "train.csv", COCO / "images.tar"
    (summary,) = json.loads(done(cli("init", table, "--images", images, "--json")).stdout)
    assert summary["rows"] == 8000
    assert summary["label_counts"]["1"] > 4000 and len(summary["label_counts"]) == 18
    assert (summary["without_labels"], summary["without_image"], summary["ledger_counts"]) == (0, 0, {})
    assert (tmp_path / "clipfuse.toml").exists()


@needs_memes
def test_init_on_the_memes(cli):
    said = done(cli("init", MEMES / "train.json", "--images", MEMES / "train-images.tar", "--json"))
    (summary,) = json.loads(said.stdout)
    with (MEMES / "train.json").open() as file:
        rows = json.load(file)
    assert summary["rows"] == len(rows)
    assert summary["without_labels"] == sum(not row["labels"] for row in rows)
    assert summary["label_counts"]["Smears"] == sum("Smears" in row["labels"] for row in rows)
    assert any("as lists" in guess for guess in summary["guesses"])


def whole_path(cli, table, images):
    done(cli("init", table, "--images", images))
    done(cli("extract"))
    done(cli("train-head", "--fusion", "sum", "--epochs", "3", "--folds", "2"))


@needs_memes
def test_memes_from_table_to_labels(cli, tmp_path):
    with (MEMES / "train.json").open() as file:
        rows = json.load(file)[:ROWS]
    (tmp_path / "memes.json").write_text(json.dumps(rows))
    whole_path(cli, "memes.json", MEMES / "train-images.tar")
    done(cli("predict", "memes.json", "-o", "out.json", "--cache", "features/memes"))
    written = json.loads((tmp_path / "out.json").read_text())
    assert [list(row) for row in written] == [["id", "labels", "text", "image"]] * ROWS
    for name in ("id", "text", "image"):
        assert [row[name] for row in written] == [row[name] for row in rows]
    known = {name for row in rows for name in row["labels"]}
    assert any(row["labels"] for row in written) and all(set(row["labels"]) <= known for row in written)


@needs_coco
def test_coco18_from_table_to_labels(cli, tmp_path):
    lines = (COCO / "train.csv").read_text().splitlines()[: ROWS + 1]
    (tmp_path / "coco.csv").write_text("\n".join(lines) + "\n")
    whole_path(cli, "coco.csv", COCO / "images.tar")
    done(cli("predict", "coco.csv", "-o", "out.csv", "--cache", "features/coco"))
    with (tmp_path / "out.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    with (tmp_path / "coco.csv").open(newline="") as file:
        given = list(csv.DictReader(file))
    assert list(written[0]) == ["ImageID", "Labels", "Caption"]
    assert [row["ImageID"] for row in written] == [row["ImageID"] for row in given]
    known = {name for row in given for name in row["Labels"].split()}
    assert all(set(row["Labels"].split(" ")) - {""} <= known for row in written)
    scores = json.loads(done(cli("evaluate", "--json")).stdout)["scores"]["test"]["scores"]
    assert scores["micro_f1"] > 0.3
