"""Tables of every format, and hostile ones: a clear error or a ledger, never a traceback."""

import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.data.records import read_table
from clipfuse.errors import ClipfuseError, DuplicateId, TableError


@pytest.fixture
def table(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(path):
    found = read_table(path)
    return [record.values for record in found.records]


PLAIN = [{"id": "1", "text": "a"}, {"id": "2", "text": "b\nc"}]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'id,text\r\n1,a\r\n2,"b\nc"\r\n'),
        ("t.csv", 'id;text\n1;a\n2;"b\nc"\n'),
        ("t.csv", '\nid,text\n\n1,a\n\n2,"b\nc"'),
        ("t.csv", 'id,text\r1,a\r2,"b\nc"\r'),
        ("T.TSV", 'id\ttext\n1\ta\n2\t"b\nc"\n'),
        ("t.json", json.dumps(PLAIN)),
        ("t.json", json.dumps({"version": 1, "rows": PLAIN})),
        ("t.json", "\n".join(map(json.dumps, PLAIN))),
        ("t.jsonl", "\n\n".join(map(json.dumps, PLAIN)) + "\r\n"),
    ],
)
def test_every_format_gives_the_same_records(table, mark, name, text):
    assert rows(table(name, mark + text)) == PLAIN


def test_lines_are_those_of_the_file(table):
    found = read_table(table("t.csv", 'id,text\n1,"a\nb"\n\n2,c\n'))
    assert [record.line for record in found.records] == [2, 5]
    assert [record.line for record in read_table(table("t.jsonl", '{"id":1}\n\n{"id":2}')).records] == [1, 3]
    assert [record.line for record in read_table(table("t.json", '[\n\n{"id":1},{"id":2}]')).records] == [1, 2]


VALUE = st.text(st.characters(codec="utf-8"), max_size=10) | st.integers() | st.booleans() | st.none()
OBJECTS = st.lists(st.dictionaries(st.text(min_size=1, max_size=4), VALUE, min_size=1, max_size=4), min_size=1)


@settings(deadline=None, max_examples=60)
@given(objects=OBJECTS, escape=st.booleans(), mark=st.booleans())
def test_json_reads_back(tmp_path_factory, objects, escape, mark):
    folder = tmp_path_factory.mktemp("json")
    coding = "utf-8-sig" if mark else "utf-8"
    (folder / "t.json").write_text(json.dumps(objects, ensure_ascii=escape), encoding=coding)
    lines = "\n".join(json.dumps(item, ensure_ascii=escape) for item in objects)
    (folder / "t.jsonl").write_text(lines, encoding=coding)
    assert rows(folder / "t.json") == rows(folder / "t.jsonl") == objects


@settings(deadline=None, max_examples=60)
@given(
    captions=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=15), min_size=1),
    mark=st.booleans(),
)
def test_captions_of_any_letters_come_through_a_csv_file(tmp_path_factory, captions, mark):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("id", "caption"), *enumerate(captions)])
    path.write_bytes(file.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    dataset = load_dataset(TableConfig(table=path))
    assert dataset.captions == tuple(caption if caption.strip() else None for caption in captions)
    assert [entry.id for entry in dataset.ledger] == [str(i) for i, c in enumerate(captions) if not c.strip()]


HOSTILE = {
    "empty": b"",
    "blank": b" \r\n\n",
    "mark only": b"\xef\xbb\xbf",
    "header only": b"id,text\n",
    "header without end": b"id,text",
    "zeros": b"\x00" * 5000,
    "garbage": bytes(range(128, 256)) * 8 + bytes(range(128)),
    "random": os.urandom(4000) + b"\xff\x00\x01",
    "only commas": b",,,\n,,,\n,,,\n",
    "no such columns": b"a,b\n1,2\n",
    "twice": b"id,text,text\n1,a,b\n",
    "all ragged": b"id,text\n1\n2,a,b,c\n",
    "large line": b"x," * 5_000_000,
    "large first line": b"x" * 10_000_000 + b"\n1\n",
    "picture": b"\x89PNG\r\n\x1a\n" + b"\x00" * 50,
    "utf-32": "id,text\n1,a\n".encode("utf-32"),
    "spreadsheet": b"PK\x03\x04" + b"\x00" * 50,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hopeless_csv_is_one_clear_error(table, content):
    path = table("bad.csv", content)
    with pytest.raises(TableError) as caught:
        load_dataset(TableConfig(table=path))
    assert str(path) in caught.value.problem
    assert caught.value.fix
    assert len(str(caught.value)) < 2500
    assert "\n" not in str(caught.value)


HOSTILE_JSON = {
    "scalar": "3",
    "string": '"a"',
    "null": "null",
    "empty": "[]",
    "no objects": "[1, 2]",
    "no array": '{"a": {"b": 1}}',
    "two arrays": '{"a": [{"id": 1, "text": "a"}], "b": [{"id": 1, "text": "a"}]}',
    "cut short": '[{"id": 1, "text": "a"}, {"id"',
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "long number": "[" + "9" * 10_000 + "]",
}


@pytest.mark.parametrize("name", ["bad.json", "bad.jsonl"])
@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_a_hopeless_json_is_one_clear_error(table, name, text):
    path = table(name, text)
    with pytest.raises(TableError) as caught:
        load_dataset(TableConfig(table=path))
    assert str(path) in caught.value.problem


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=60), name=st.sampled_from(["t.csv", "t.tsv", "t.json", "t.jsonl"]))
def test_no_bytes_raise_anything_else(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(b"id,text\n" + data if name == "t.csv" else data)
    try:
        dataset = load_dataset(TableConfig(table=path))
    except ClipfuseError:
        return
    assert len(dataset) > 0


def test_the_kind_of_a_wrong_file_is_named(table):
    for content, words in [(b"\x89PNG\r\n\x1a\n,id", "is a picture"), (b"PK\x03\x04id,text", "spreadsheet")]:
        with pytest.raises(TableError, match=words):
            read_table(table("t.csv", content))


def test_missing_files_and_folders_are_named_with_what_is_there(tmp_path, table):
    table("train.csv", "id,text\n1,a\n")
    for path, words in [
        (tmp_path / "trian.csv", "Did you mean"),
        (tmp_path / "nowhere" / "x.csv", "no folder"),
        (tmp_path, "is a folder"),
        (tmp_path / "x.xlsx", ".csv, .tsv"),
        (tmp_path / "a\x00b.csv", "can't be read"),
    ]:
        with pytest.raises(TableError, match=words):
            read_table(path)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_read(table, coding):
    found = read_table(table("t.csv", "id,text\n1,a road\n2,häuser\n".encode(coding)))
    assert [record.values["text"] for record in found.records] == ["a road", "häuser"]
    assert found.notes == ("t.csv read as UTF-16",)


def test_stray_bytes_are_read_as_windows_1252_with_a_note(table):
    data = "id,text\n1,ünï\n2,".encode() + "é’ é".encode("cp1252") + b"\n3,\x81\n"
    found = read_table(table("t.csv", data))
    assert [record.values["text"] for record in found.records] == ["ünï", "é’ é", "\x81"]
    assert found.notes == ("bytes that are not UTF-8 read as Windows-1252 on lines 3, 4",)


def test_zero_bytes_in_a_cell_are_kept(table):
    dataset = load_dataset(TableConfig(table=table("t.csv", b"id,image,text\n1,a\x00.jpg,x\x00y\n2,b,z\n")))
    assert dataset.captions == ("x\x00y", "z")


@pytest.mark.parametrize(
    "text", ['id,text\n1,"a\n2,"b"\n3,"c"\n4,"d"\n', 'id,text\n2,"b"\n3,"c"\n4,"d"\n1,"a'], ids=["first", "last"]
)
def test_an_unclosed_quote_swallows_nothing(table, text):
    dataset = load_dataset(TableConfig(table=table("t.csv", text)))
    assert dict(zip(dataset.ids, dataset.captions, strict=True)) == {"1": "a", "2": "b", "3": "c", "4": "d"}


def test_ragged_rows_are_named_and_the_rest_goes_on(table):
    path = table("t.csv", "id,image,labels\n1,a.jpg,x\n2,b.jpg\n3,c.jpg,x,y,z\n4,d.jpg,x\n5,e.jpg,x\n")
    dataset = load_dataset(TableConfig(table=path))
    assert dataset.ids == ("1", "4", "5")
    assert [str(entry) for entry in dataset.ledger] == [
        f"{path}:3: row: 2 fields where the header names 3 columns",
        f"{path}:4: row: 5 fields where the header names 3 columns",
    ]


def test_broken_lines_of_jsonl_are_named_and_the_rest_goes_on(table):
    text = '{"id": 1, "text": "a"}\n{"id": 2, "te\n7\n{"id": 3, "text": NaN}\n' + "[" * 50_000 + "\n"
    dataset = load_dataset(TableConfig(table=table("t.jsonl", text)))
    assert dataset.ids == ("1", "3")
    assert dataset.captions == ("a", None)
    assert [(entry.part, entry.line) for entry in dataset.ledger] == [("row", 2), ("row", 3), ("text", 4), ("row", 5)]


def test_lone_surrogates_do_not_reach_the_cache(table):
    dataset = load_dataset(TableConfig(table=table("t.json", '[{"id": "a\\ud800", "text": "\\udc41b"}]')))
    assert dataset.ids == ("a\ufffd",)
    assert dataset.captions == ("\ufffdb",)


def test_a_large_cell_on_one_line_is_a_caption(table):
    caption = 'say "" x,' * 1_000_000
    dataset = load_dataset(TableConfig(table=table("t.csv", f'id,text\n1,"{caption}"\n2,b\n')))
    assert len(dataset.captions[0]) == len(caption) - 1_000_000


def test_duplicate_ids_name_both_places(table):
    path = table("t.csv", "id,text\n1,a\n2,b\n1,c\n")
    with pytest.raises(DuplicateId, match=r"'1' stands at .*t.csv:2 and at .*t.csv:4"):
        load_dataset(TableConfig(table=path))


def test_nameless_columns_do_not_matter(table):
    dataset = load_dataset(TableConfig(table=table("t.csv", ",id,text,\n0,1,a,\n1,2,b,\n")))
    assert dataset.captions == ("a", "b")
    assert dataset.layout.columns == ("column 1", "id", "text", "column 4")
