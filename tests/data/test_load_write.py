"""A dataset and its ledger; predictions written as the training table was; the summary."""

import csv
import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.config import TableConfig
from clipfuse.data import (
    DatasetSummary,
    ImageRef,
    TableLayout,
    concatenate,
    load_dataset,
    summarize,
    write_predictions,
)
from clipfuse.errors import ClipfuseError, DuplicateId, ImageSourceError, TableError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"picture a")
    text = 'id,image,text,labels\n1,a.jpg,one,x y\n2,,two,\n3,lost.jpg,"  ",y\n4,a,four,y y z\n'
    (tmp_path / "t.csv").write_text(text)
    return tmp_path


def test_every_missing_part_is_in_the_ledger_once(folder):
    dataset = load_dataset(TableConfig(table=folder / "t.csv", images=folder / "images"))
    assert dataset.ids == ("1", "2", "3", "4")
    assert [image and image.key for image in dataset.images] == ["a.jpg", None, None, "a.jpg"]
    assert dataset.images[0].read() == b"picture a"
    assert dataset.captions == ("one", "two", None, "four")
    assert dataset.labels.dtype == bool
    assert dataset.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert dataset.references == ("a.jpg", None, "lost.jpg", "a")
    file = folder / "t.csv"
    assert [(origin.file, origin.line) for origin in dataset.origins] == [(file, line) for line in (2, 3, 4, 5)]
    assert [str(entry) for entry in dataset.ledger] == [
        f"{file}:3 (2): image: no picture named",
        f"{file}:4 (3): image: no such picture: 'lost.jpg' in images",
        f"{file}:4 (3): text: empty caption",
    ]


def test_an_unclear_picture_is_in_the_ledger_with_both_names(folder):
    (folder / "images" / "a.png").write_bytes(b"picture b")
    dataset = load_dataset(TableConfig(table=folder / "t.csv", images=folder / "images"))
    assert dataset.images[3] is None
    assert dataset.ledger[-1].reason == "'a' may be 'a.jpg' or 'a.png' in images"


def test_without_images_pictures_beside_the_table_are_used_if_there_are_any(folder):
    table = folder / "t.csv"
    bare = load_dataset(TableConfig(table=table))
    assert bare.images == (None,) * 4
    assert [entry.part for entry in bare.ledger] == ["text"]
    assert any("no pictures" in guess for guess in bare.layout.guesses)
    table.write_text(table.read_text().replace("a.jpg", "images/a.jpg"))
    dataset = load_dataset(TableConfig(table=table))
    assert dataset.images[0].read() == b"picture a"
    assert dataset.images[0].stamp() >= 0
    assert [entry.part for entry in dataset.ledger] == ["image", "image", "text", "image"]


def test_a_table_can_not_reach_out_of_its_folder(folder):
    inner = folder / "inner"
    inner.mkdir()
    inside = inner / "b.jpg"
    inside.write_bytes(b"b")
    rows = [
        "../images/a.jpg",
        str(folder / "images" / "a.jpg"),
        "/etc/passwd",
        "b.jpg",
        str(inside),
        ".",
        "../outer/b.jpg",
    ]
    (inner / "t.json").write_text(json.dumps([{"image": row} for row in rows]))
    dataset = load_dataset(TableConfig(table=inner / "t.json"))
    assert [image and image.key for image in dataset.images] == [None, None, None, "b.jpg", "b.jpg", None, None]
    with pytest.raises(OSError):
        ImageRef(dataset.images[3].source, "../images/a.jpg").read()


def test_pictures_that_nothing_names_are_an_error(folder):
    (folder / "c.csv").write_text("text\nx\n")
    with pytest.raises(TableError, match="no column that names the pictures"):
        load_dataset(TableConfig(table=folder / "c.csv", images=folder / "images"))
    with pytest.raises(ImageSourceError):
        load_dataset(TableConfig(table=folder / "t.csv", images=folder / "nothing"))


def table(path, text):
    path.write_text(text)
    return load_dataset(TableConfig(table=path))


def test_concatenate_unites_labels_and_keeps_rows_apart(tmp_path):
    first = table(tmp_path / "a.csv", "id,text,labels\n1,x,b c\n2,,c\n")
    second = table(tmp_path / "b.csv", "id,image,labels\n3,x.jpg,a|b\n")
    both = concatenate([first, second])
    assert both.ids == ("1", "2", "3")
    assert both.label_names == ("b", "c", "a")
    assert both.labels.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert both.captions == ("x", None, None)
    assert both.references == (None, None, "x.jpg")
    assert both.rows_of(tmp_path / "b.csv").tolist() == [2]
    assert both.ledger == first.ledger + second.ledger
    assert both.layout.columns == first.layout.columns
    assert set(both.layout.guesses) == {*first.layout.guesses, *second.layout.guesses}
    assert concatenate([first]) is first
    assert concatenate([replace(first, references=()), second]).references == (None, None, "x.jpg")


def test_concatenate_refuses_what_does_not_fit(tmp_path):
    first = table(tmp_path / "a.csv", "id,text,labels\n1,x,b\n")
    with pytest.raises(DuplicateId, match=r"'1' stands at .*a.csv:2 and at .*b.csv:3"):
        concatenate([first, table(tmp_path / "b.csv", "id,text,labels\n2,x,b\n1,x,b\n")])
    with pytest.raises(TableError, match=r"a.csv has labels and .*c.csv has none"):
        concatenate([first, table(tmp_path / "c.csv", "id,text\n2,x\n")])
    with pytest.raises(ValueError, match="no datasets"):
        concatenate([])


def test_summary(folder):
    with (folder / "t.csv").open("a") as file:
        file.write("5,a.jpg,one,z\n6\n")
    summary = summarize(load_dataset(TableConfig(table=folder / "t.csv", images=folder / "images")))
    assert summary == DatasetSummary(
        rows=5,
        labelled=True,
        label_counts={"x": 1, "y": 3, "z": 2},
        without_image=2,
        without_caption=1,
        without_labels=1,
        labels_per_row=6 / 5,
        repeated_captions=1,
        guesses=summary.guesses,
        ledger_counts={"image": 2, "text": 1, "row": 1},
    )
    assert len(summary.guesses) == 4
    json.dumps(asdict(summary))
    bare = summarize(table(folder / "u.csv", "text\nx\n"))
    assert (bare.labelled, bare.label_counts, bare.without_labels, bare.labels_per_row) == (False, {}, 0, 0.0)


LAYOUTS = {
    "coco": ("ImageID,Labels,Caption\n1.jpg,8 3,a\n2.jpg,1,b\n", "csv"),
    "pipes": ("id,image,text,labels\n1,1.jpg,a,Loaded Language|Smears\n2,2.jpg,b,\n", "csv"),
    "columns": ("cat,id,note,text,dog\n1,1,x,a,0\n0,2,y,b,1\n", "csv"),
    "captions": ("text,labels\na,x y\nb,y\nc,x\n", "csv"),
    "pictures": ("img,labels\na.jpg,x y\nb.jpg,y\nc.jpg,x\n", "csv"),
    "repeated": ("img,labels\na.jpg,x y\na.jpg,y\nc.jpg,x\n", "csv"),
    "single": ("id,text,labels\n1,a,Loaded Language\n2,b,Smears\n", "csv"),
    "lists": (json.dumps([{"id": "1", "labels": ["a, b", "c"], "text": "x", "image": "1.png"}]), "json"),
    "lines": (json.dumps({"text": "x", "labels": "a;b"}), "jsonl"),
    "flags": (json.dumps([{"text": "x", "a": 1, "b": 0}, {"text": "x", "a": False, "b": True}]), "json"),
}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=10)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_predictions_read_back(tmp_path_factory, name, suffix):
    folder = tmp_path_factory.mktemp("write")
    text, kind = LAYOUTS[name]
    (folder / f"train.{kind}").write_text(text)
    trained = load_dataset(TableConfig(table=folder / f"train.{kind}"))
    layout, names = trained.layout, trained.label_names
    path = folder / f"out.{suffix}"

    @settings(deadline=None, max_examples=8)
    @given(data=st.data(), with_probabilities=st.booleans())
    def check(data, with_probabilities):
        captions = data.draw(st.lists(st.none() | TEXT.filter(str.strip), min_size=1, max_size=5))
        rows = len(captions)
        pictures = data.draw(st.lists(TEXT.map(str.strip).filter(bool), min_size=rows, max_size=rows, unique=True))
        ids = pictures if layout.id_column == layout.image_column else [f"{n} id" for n in range(rows)]
        predicted = np.array(
            data.draw(
                st.lists(
                    st.lists(st.booleans(), min_size=len(names), max_size=len(names)), min_size=rows, max_size=rows
                )
            )
        )
        write_predictions(
            path,
            layout,
            ids=ids,
            label_names=names,
            predicted=predicted,
            references=pictures,
            captions=captions,
            probabilities=predicted.astype(np.float32) if with_probabilities else None,
        )
        settings_ = TableConfig(
            table=path,
            separator=layout.separator,
            label_columns=names if layout.form == "columns" else None,
        )
        read = load_dataset(settings_, names)
        assert read.ids == tuple(ids)
        assert read.labels.tolist() == predicted.tolist()
        if layout.image_column not in (None, layout.id_column):
            assert read.references == tuple(pictures)
        if layout.caption_column is not None:
            assert read.captions == tuple(captions)
        assert not [entry for entry in read.ledger if entry.part in ("row", "labels")]

    check()


def test_predictions_look_like_the_training_table(tmp_path):
    layout = table(tmp_path / "t.csv", "ImageID,Labels,extra,Caption\n1.jpg,8 3,e,a\n2.jpg,1,e,b\n").layout
    path = tmp_path / "out.csv"
    arguments = {
        "ids": ["9.jpg", "10.jpg"],
        "label_names": ["1", "3", "8"],
        "predicted": np.array([[True, False, True], [False, False, False]]),
        "references": ["9.jpg", "10.jpg"],
        "captions": ['say "a", b', None],
    }
    write_predictions(path, layout, **arguments)
    assert path.read_text() == 'ImageID,Labels,Caption\n9.jpg,1 8,"say ""a"", b"\n10.jpg,,\n'
    probabilities = np.array([[0.5, 0.25, 1.0], [0.1, 0.0, 0.2]], dtype=np.float32)
    write_predictions(path, layout, **arguments, probabilities=probabilities)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ImageID", "Labels", "Caption", "p(1)", "p(3)", "p(8)"]
    assert rows[2] == ["10.jpg", "", "", "0.100000", "0.000000", "0.200000"]
    write_predictions(tmp_path / "out.json", layout, **arguments, probabilities=probabilities)
    first = json.loads((tmp_path / "out.json").read_text())[0]
    assert list(first) == ["ImageID", "Labels", "Caption", "probabilities"]
    assert first["Labels"] == "1 8"
    assert first["probabilities"] == {"1": 0.5, "3": 0.25, "8": 1.0}
    del arguments["captions"]
    write_predictions(path, layout, **arguments)
    assert path.read_text() == "ImageID,Labels\n9.jpg,1 8\n10.jpg,\n"


def test_written_probabilities_are_not_read_as_labels(tmp_path):
    layout = table(tmp_path / "t.csv", "id,text,cat,dog\n1,x,0,1\n").layout
    on = np.array([[True, False]])
    arguments = {"ids": ["1"], "captions": ["x"], "label_names": ["cat", "dog"]}
    write_predictions(tmp_path / "o.csv", layout, **arguments, predicted=on, probabilities=on.astype(float))
    rows = (tmp_path / "o.csv").read_text().replace(".000000", "")
    assert table(tmp_path / "p.csv", rows).label_names == ("cat", "dog")


def test_a_json_table_is_written_with_the_same_keys(tmp_path):
    (tmp_path / "t.json").write_text('[{"id": "1", "labels": ["a, b"], "text": "x", "split": 1, "image": "1.png"}]')
    layout = load_dataset(TableConfig(table=tmp_path / "t.json")).layout
    out = tmp_path / "out.json"
    write_predictions(
        out,
        layout,
        ids=["7"],
        label_names=["a, b", "c"],
        predicted=np.array([[True, True]]),
        references=["7.png"],
        captions=["é\n"],
    )
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert "é" in out.read_text(encoding="utf-8")
    assert rows == [{"id": "7", "labels": ["a, b", "c"], "text": "é\n", "image": "7.png"}]
    assert list(rows[0]) == ["id", "labels", "text", "image"]


def test_what_can_not_be_written_is_refused_and_the_old_file_stays(tmp_path):
    layout = TableLayout("csv", ("id", "labels"), "id", None, None, "labels", "joined", " ")
    path = tmp_path / "out.csv"
    path.write_text("old")
    good = {"ids": ["1"], "label_names": ["a", "b"], "predicted": np.array([[True, False]])}
    for change, words in [
        ({"ids": ["1", "2"]}, "expected \\(2, 2\\)"),
        ({"captions": ["x", "y"]}, "2 captions for 1 ids"),
        ({"references": []}, "0 references for 1 ids"),
        ({"probabilities": np.zeros((1, 3))}, "probabilities has shape"),
    ]:
        with pytest.raises(ValueError, match=words):
            write_predictions(path, layout, **(good | change))
    with pytest.raises(TableError, match="'a b' holds the separator ' '"):
        write_predictions(path, layout, **(good | {"label_names": ["a b", "c"]}))
    with pytest.raises(TableError, match="name of another column"):
        write_predictions(path, replace(layout, form="columns"), **(good | {"label_names": ["id", "b"]}))
    with pytest.raises(TableError, match="no suffix of a table"):
        write_predictions(tmp_path / "out.txt", layout, **good)
    assert path.read_text() == "old"
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(ClipfuseError):
            write_predictions(path, layout, **good)
        tmp_path.chmod(0o700)


def test_nothing_heavy_is_imported(tmp_path):
    import subprocess
    import sys

    code = "import sys, clipfuse.data; print([m for m in ('torch', 'PIL', 'sklearn', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
