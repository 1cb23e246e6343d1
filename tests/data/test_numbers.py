"""Columns of numbers: from the table to samples.h5."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clipfuse.config import TableConfig
from clipfuse.data import concatenate, load_dataset
from clipfuse.errors import TableError
from clipfuse.inputs import describe_samples


def load(path, content, **settings):
    path.write_text(content)
    return load_dataset(TableConfig(table=path, **settings))


def test_numbers_are_read_and_what_is_none_stands_in_the_ledger(tmp_path):
    text = "id,text,age,rate\n1,a,3,1e-3\n2,b,,-0.5\n3,c,old,1_0\n4,d, 7 ,inf\n"
    found = load(tmp_path / "t.csv", text, number_columns=("rate", "age"))
    assert found.number_names == found.layout.number_columns == ("rate", "age")
    wanted = [[1e-3, 3], [-0.5, np.nan], [np.nan, np.nan], [np.nan, 7]]
    assert found.numbers.dtype == np.float64
    assert np.array_equal(found.numbers, wanted, equal_nan=True)
    assert [(entry.part, entry.line, entry.id, entry.reason) for entry in found.ledger] == [
        ("numbers", 4, "3", "'1_0' in column 'rate' is not a number; 'old' in column 'age' is not a number"),
        ("numbers", 5, "4", "'inf' in column 'rate' is not a number"),
    ]


def test_json_numbers(tmp_path):
    rows = [{"id": 1, "text": "a", "n": 2.5}, {"id": 2, "text": "b", "n": None}, {"id": 3, "text": "c", "n": True}]
    found = load(tmp_path / "t.json", json.dumps(rows), number_columns=("n",))
    assert np.array_equal(found.numbers, [[2.5], [np.nan], [np.nan]], equal_nan=True)
    assert [(entry.line, entry.part) for entry in found.ledger] == [(3, "numbers")]


def test_numbers_are_never_guessed_and_a_named_column_is_nothing_else(tmp_path):
    text = "id,text,a,b,c\n1,x,0,1,0\n2,y,1,1,0\n"
    plain = load(tmp_path / "t.csv", text)
    assert (plain.numbers, plain.number_names, plain.label_names) == (None, (), ("a", "b", "c"))
    found = load(tmp_path / "t.csv", text, number_columns=("b", "b"))
    assert found.number_names == ("b",) and found.label_names == ("a", "c")
    with pytest.raises(TableError, match=r"no column 'd' \(number_columns\)"):
        load(tmp_path / "t.csv", text, number_columns=("d",))
    with pytest.raises(TableError, match="'a' is named both for numbers and for labels"):
        load(tmp_path / "t.csv", text, number_columns=("a",), label_column="a")


def test_rows_without_an_id_take_their_numbers_with_them(tmp_path):
    found = load(tmp_path / "t.csv", "id,text,n\n1,a,1\n,b,x\n3,c,3\n", number_columns=("n",))
    assert found.numbers.tolist() == [[1], [3]]
    assert [entry.part for entry in found.ledger] == ["row"]


def test_tables_with_other_numbers_are_united(tmp_path):
    one = load(tmp_path / "a.csv", "id,text,m,n\n1,a,1,2\n", number_columns=("m", "n"))
    two = load(tmp_path / "b.csv", "id,text,n,o\n2,b,3,4\n", number_columns=("o", "n"))
    bare = load(tmp_path / "c.csv", "id,text\n3,c\n")
    both = concatenate([one, bare, two])
    assert both.number_names == ("m", "n", "o")
    nan = np.nan
    assert np.array_equal(both.numbers, [[1, 2, nan], [nan, nan, nan], [nan, 3, 4]], equal_nan=True)
    assert concatenate([bare, replace(bare, ids=("4",))]).numbers is None


def test_the_caches_samples_have_them(tmp_path):
    found = load(tmp_path / "t.csv", "id,text,n\n1,a,1.5\n2,b,\n", number_columns=("n",))
    samples, _ = describe_samples(found, None)
    assert samples.number_names == ("n",)
    assert np.array_equal(samples.numbers, [[1.5], [np.nan]], equal_nan=True)
