"""Finding the columns, the form of the labels, and reading them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.data.labels import find_separator, sort_labels
from clipfuse.errors import TableError


@pytest.fixture
def load(tmp_path):
    def read(text, name="t.csv", label_names=None, **config):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return load_dataset(TableConfig(table=path, **config), label_names)

    return read


def label_rows(dataset):
    return [[name for name, on in zip(dataset.label_names, row, strict=True) if on] for row in dataset.labels]


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("ImageID,Labels,Caption", ("ImageID", None, "Caption", "Labels")),
        ("id,labels,text,image", ("id", "image", "text", "labels")),
        ("ID,File Name,Sentence,TAGS", ("ID", "File Name", "Sentence", "TAGS")),
        ("img,classes,description", (None, "img", "description", "classes")),
        ("id,image_id,caption,label", ("id", "image_id", "caption", "label")),
        ("image_id,image,comment", ("image_id", "image", "comment", None)),
        ("path,note,text", (None, "path", "text", None)),
    ],
)
def test_columns_are_found_by_name(load, header, roles):
    layout = load(header + "\n" + ",".join("abcd"[: header.count(",") + 1])).layout
    assert (layout.id_column, layout.image_column, layout.caption_column, layout.label_column) == roles


def test_ids_that_are_picture_names_name_the_pictures(load):
    dataset = load("ImageID,Caption\n1.jpg,a\n2.PNG,b\n")
    assert dataset.layout.image_column == "ImageID"
    assert dataset.references == ("1.jpg", "2.PNG")
    assert load("ImageID,Caption\n1,a\n2,b\n").layout.image_column is None


def test_given_columns_win_and_case_is_forgiven(load):
    text = "id,key,text,other,labels,kind\n1,x,a,b,c,d\n"
    layout = load(text, id_column="key", caption_column="OTHER", label_column="kind").layout
    assert (layout.id_column, layout.caption_column, layout.label_column) == ("key", "other", "kind")


@pytest.mark.parametrize("setting", ["id_column", "image_column", "caption_column", "label_column"])
def test_a_given_column_that_is_not_there_names_the_nearest(load, setting):
    with pytest.raises(
        TableError, match=rf"no column 'caption' \({setting}\). Did you mean 'captoin'.*'id', 'captoin'"
    ):
        load("id,captoin\n1,a\n", **{setting: "caption"})


def test_one_column_can_not_be_caption_and_label(load):
    with pytest.raises(TableError, match="both for captions and for labels"):
        load("id,text\n1,a\n", caption_column="text", label_column="text")
    with pytest.raises(TableError, match="both --label-column and --label-columns"):
        load("id,text,a,b\n1,a,0,1\n", label_column="a", label_columns=("b",))


def test_ids_without_a_column(load):
    assert load("image\na.jpg\nb.jpg\n").ids == ("a.jpg", "b.jpg")
    assert load("image\na.jpg\na.jpg\n").ids == ("t:1", "t:2")
    assert load("image,text\na.jpg,x\n,y\n").ids == ("t:1", "t:2")
    assert load("text\nx\ny\n").ids == ("t:1", "t:2")


def test_a_row_without_id_is_left_out_by_name(load):
    dataset = load("id,text\n1,a\n ,b\n3,c\n")
    assert dataset.ids == ("1", "3")
    assert [(entry.part, entry.line, entry.reason) for entry in dataset.ledger] == [("row", 3, "no id in column 'id'")]


@pytest.mark.parametrize(
    ("cells", "expected", "words"),
    [
        (["8 3", "1", "1 8"], [["3", "8"], ["1"], ["1", "8"]], "separated by a space"),
        (["8 3"], [["3", "8"]], "separated by a space"),
        (["8", "3", ""], [["8"], ["3"], []], "one label per row"),
        (["red;blue", "red"], [["blue", "red"], ["red"]], "separated by a semicolon"),
        (["red blue", "red", "blue"], [["blue", "red"], ["red"], ["blue"]], "separated by a space"),
        (
            ["Loaded Language|Smears", "Loaded Language"],
            [["Loaded Language", "Smears"], ["Loaded Language"]],
            "separated by a pipe",
        ),
        (["a, b|c", "c"], [["a, b", "c"], ["c"]], "separated by a pipe"),
        (["hot dog, red wine", "red wine"], [["hot dog", "red wine"], ["red wine"]], "separated by a comma"),
        (["a,b"] * 4, [["a", "b"]] * 4, "separated by a comma"),
        (["1,2", "1,2", "1,2"], [["1", "2"]] * 3, "separated by a comma"),
        (
            ["Loaded Language", "Smears", "Name calling"],
            [["Loaded Language"], ["Smears"], ["Name calling"]],
            "one label",
        ),
        (["Doubt, Fear"] * 4 + ["Joy"] * 3, [["Doubt, Fear"]] * 4 + [["Joy"]] * 3, "one label"),
        (['["a b", "c"]', "[]", ""], [["a b", "c"], [], []], "as lists"),
        (["['a b', 'c']", "[]"], [["a b", "c"], []], "as lists"),
        (["a|a| b ||a"], [["a", "b"]], "separated by a pipe"),
    ],
)
def test_the_form_of_labels_is_found_and_told(load, cells, expected, words):
    text = "id\ttext\tlabels\n" + "".join(f"{n}\tx\t{cell}\n" for n, cell in enumerate(cells))
    dataset = load([{"id": n, "text": "x", "labels": cell} for n, cell in enumerate(cells)], name="t.json")
    assert label_rows(dataset) == expected
    assert any("labels in column 'labels'" in guess and words in guess for guess in dataset.layout.guesses)
    if '"' not in text:
        assert label_rows(load(text, name="t.tsv")) == expected


def test_a_given_separator_is_used_without_a_guess(load):
    dataset = load("id,text,labels\n1,x,a b/c\n", separator="/")
    assert label_rows(dataset) == [["a b", "c"]]
    assert dataset.layout.separator == "/"
    assert not any("separated" in guess for guess in dataset.layout.guesses)


def test_known_labels_are_evidence_for_the_separator(load):
    names = ("Loaded Language", "Smears", "a, b")
    rows = [{"text": "x", "labels": "Loaded Language"}, {"text": "y", "labels": "Loaded Language Loaded"}]
    assert label_rows(load(rows, "t.json", names)) == [["Loaded Language"], []]
    rows = [{"text": "x", "labels": "a, b"}]
    assert label_rows(load(rows, "t.json", names)) == [["a, b"]]
    rows = [{"text": "x", "labels": "a, b;Smears"}]
    assert label_rows(load(rows, "t.json", names)) == [["Smears", "a, b"]]


def test_json_lists_numbers_and_null(load):
    values = [["b", "a", "b"], "c d", None, 7, [], [1, None, 2.0], [["x"], "a"], {"a": 1}]
    dataset = load([{"text": "x", "labels": value} for value in values], name="t.json")
    assert label_rows(dataset) == [["a", "b"], ["c d"], [], ["7"], [], ["1", "2"], ["a"], []]
    assert [(entry.line, entry.reason) for entry in dataset.ledger] == [
        (7, "['x'] is no label"),
        (8, "{'a': 1} is no label"),
    ]
    assert dataset.layout.form == "list"


def test_one_column_per_label(load):
    dataset = load("id,text,note,dog,cat\n1,a,x,0,1\n2,b,y,true,False\n3,c,z,,0\n")
    assert dataset.label_names == ("cat", "dog")
    assert label_rows(dataset) == [["cat"], ["dog"], []]
    assert dataset.layout.form == "columns"
    assert "labels in 2 columns of 0 and 1: 'dog', 'cat'" in dataset.layout.guesses


def test_given_label_columns_put_other_values_in_the_ledger(load):
    dataset = load("id,text,dog,cat\n1,a,0,1\n2,b,maybe,1\n", label_columns=("dog", "cat"))
    assert label_rows(dataset) == [["cat"], ["cat"]]
    assert [str(entry.reason) for entry in dataset.ledger] == ["'maybe' in column 'dog' is neither 0 nor 1"]
    with pytest.raises(TableError, match="no column 'dgo'"):
        load("id,text,dog,cat\n1,a,0,1\n", label_columns=("dgo",))


def test_a_table_without_labels_is_unlabelled_and_an_empty_cell_is_not(load):
    bare = load("id,text,flag\n1,a,0\n")
    assert bare.labels is None
    assert bare.label_names == ()
    assert bare.layout.form is None
    empty = load("id,text,labels\n1,a,\n")
    assert empty.labels.shape == (1, 0)


def test_label_names_fix_columns_and_order_and_unknown_labels_are_named(load):
    dataset = load("id,text,labels\n1,x,b c\n2,y,zebra a zebra\n", label_names=("c", "a", "b"))
    assert dataset.label_names == ("c", "a", "b")
    assert dataset.labels.tolist() == [[True, False, True], [False, True, False]]
    assert [(entry.part, entry.line, entry.id, entry.reason) for entry in dataset.ledger] == [
        ("labels", 3, "2", "unknown label 'zebra'")
    ]


def test_labels_sort_by_value_if_all_are_integers():
    assert sort_labels(["10", "9", "-1", "9"]) == ["-1", "9", "10"]
    assert sort_labels(["10", "9", "b", "B", "a"]) == ["10", "9", "a", "B", "b"]
    assert sort_labels([]) == []


NAME = st.text("abcdefgh", min_size=1, max_size=3)


@settings(deadline=None, max_examples=80)
@given(
    names=st.lists(st.tuples(NAME, NAME).map(" ".join) | NAME, min_size=3, max_size=6, unique=True),
    sign=st.sampled_from("|;,"),
    data=st.data(),
)
def test_any_names_with_spaces_are_kept_whole_where_a_sign_separates_them(names, sign, data):
    rows = data.draw(st.lists(st.lists(st.sampled_from(names), min_size=1, unique=True), min_size=2, max_size=8))
    rows.append(names[:2])
    assert find_separator([sign.join(row) for row in rows])[0] == sign


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(st.integers(0, 19).map(str), min_size=1, max_size=4), min_size=1, max_size=20))
def test_numbers_are_always_separated_by_spaces(rows):
    assert find_separator([" ".join(row) for row in rows])[0] == " "
