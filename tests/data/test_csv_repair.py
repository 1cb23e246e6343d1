"""Delimited text: exactly the standard reader's rows where it is well formed, and repair where it is not."""

import csv
import io
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.data.csv_records import read_rows
from clipfuse.data.records import read_table

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
COCO = SHARED / "data" / "coco18"

# Zero bytes have tests of their own: enough of them look like UTF-16.
CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12) | st.text(
    '",;\t|\r\n a1', max_size=8
)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 5))
    names = [f"c{number}" for number in range(width)]
    row = st.lists(CELL, min_size=width, max_size=width)
    return [names, *draw(st.lists(row, min_size=1, max_size=8))]


@settings(deadline=None, max_examples=150)
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    open_ended=st.booleans(),
)
def test_what_the_standard_writer_writes_reads_back(table, delimiter, end, quoting, open_ended):
    lines = []
    for row in table:  # the writer quotes lone CR and LF only if both are in its line end
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter, lineterminator="\r\n", quoting=quoting).writerow(row)
        lines.append(file.getvalue().removesuffix("\r\n") + end)
    text = "".join(lines)
    found = read_rows(text.removesuffix(end) if open_ended else text, delimiter)
    assert [found.header, *(row for _, row in found.rows)] == table
    assert not found.lost
    assert not found.repaired


@settings(deadline=None, max_examples=300)
@given(st.text('",\r\n a1', max_size=40))
def test_any_well_formed_text_gives_what_the_standard_reader_gives(body):
    text = "x,y\n" + body
    try:
        expected = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return
    if any(len(row) != 2 for row in expected):
        return
    found = read_rows(text, ",")
    assert [row for _, row in found.rows] == expected[1:]


@settings(deadline=None, max_examples=300)
@given(st.text('",\r\n a1', max_size=60), st.sampled_from(["x,y", "x", "x,y,z"]))
def test_no_text_breaks_it_and_each_row_fits_the_header(body, header):
    found = read_rows(header + "\n" + body, ",")
    assert all(len(row) == len(found.header) for _, row in found.rows)
    places = [line for line, _ in found.rows] + [line for line, _ in found.lost]
    assert len(set(places)) == len(places)


# Two quotes side by side mean one; everything else must come back letter by letter. Captions that end with a
# quote above one that begins with a quote can make one well-formed field of both rows, which is then the answer.
CAPTION = st.text('ab ,."', min_size=1, max_size=20).filter(
    lambda text: '""' not in text and text[0] != '"' and text.strip() == text
)


@settings(deadline=None, max_examples=200)
@given(captions=st.lists(CAPTION, min_size=1, max_size=8), place=st.sampled_from(["first", "middle", "last"]))
def test_unescaped_quotes_stay_in_their_caption(captions, place):
    order = {"first": (2, 0, 1), "middle": (0, 2, 1), "last": (0, 1, 2)}[place]
    good = ["a road", "two cars, one bus", "on a road.", "a b", "c, d"]

    def line(number, caption):
        cells = (f"{number}.jpg", "8 3" if number % 2 else "1", f'"{caption}"')
        return ",".join(cells[index] for index in order)

    rows = [(number, caption) for number, caption in enumerate([*good, *captions, *good])]
    text = "h1,h2,h3\n" + "\n".join(line(*row) for row in rows) + "\n"
    found = read_rows(text, ",")
    assert not found.lost
    read = {row[order.index(0)]: row[order.index(2)] for _, row in found.rows}
    assert read == {f"{number}.jpg": caption for number, caption in rows}


GOOD = '1.jpg,8,"a road"\n2.jpg,3 1,"two cars, one bus"\n3.jpg,8,"a b."\n4.jpg,5,"x"\n'


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        ('9.jpg,8,"a "b" c"\n', [["9.jpg", "8", 'a "b" c']]),
        ('9.jpg,8,"a "b," c"\n', [["9.jpg", "8", 'a "b," c']]),
        ('9.jpg,8,"a "b""\n', [["9.jpg", "8", 'a "b"']]),
        ('9.jpg,8,""b" a"\n', [["9.jpg", "8", '"b" a']]),
        ('9.jpg,8,"Hello" she said\n', [["9.jpg", "8", '"Hello" she said']]),
        ('9.jpg,8,"a "b\nc, d, e f" g"\n', [["9.jpg", "8", 'a "b\nc, d, e f" g']]),
        ('9.jpg,8,"a "b" \nc"\n', [["9.jpg", "8", 'a "b" \nc']]),
        ('9.jpg,8,"a "b"\nc "d" e"\n', [["9.jpg", "8", 'a "b"\nc "d" e']]),
        ('9.jpg,8,"a b\n', [["9.jpg", "8", "a b"]]),
        ('9.jpg,8,"a b\n10.jpg,8,"c\n', [["9.jpg", "8", "a b"], ["10.jpg", "8", "c"]]),
        ('9.jpg,8,"a ""b"" "c" d"\n', [["9.jpg", "8", 'a "b" "c" d']]),
        ("9.jpg,8,a, b and c\n", [["9.jpg", "8", "a, b and c"]]),
        ('9.jpg,8,"a" \n', [["9.jpg", "8", "a"]]),
        ("9.jpg,8,a,,\n", [["9.jpg", "8", "a"]]),
    ],
)
@pytest.mark.parametrize("where", ["first", "last", "unended"])
def test_a_damaged_row_is_repaired_and_its_neighbours_are_whole(damaged, expected, where):
    body = damaged + GOOD if where == "first" else GOOD + damaged
    found = read_rows("a,b,c\n" + (body.rstrip("\n") if where == "unended" else body), ",")
    assert not found.lost
    good = [
        ["1.jpg", "8", "a road"],
        ["2.jpg", "3 1", "two cars, one bus"],
        ["3.jpg", "8", "a b."],
        ["4.jpg", "5", "x"],
    ]
    rows = [row for _, row in found.rows]
    assert rows == (expected + good if where == "first" else good + expected)


@pytest.mark.parametrize("damaged", ["9.jpg,8\n", "just words\n", "9.jpg,8,8,8,a\n"])
def test_what_has_no_single_reading_is_named_and_the_rest_goes_on(damaged):
    table = "a,b,c\n" + GOOD.replace("3.jpg", damaged + "3.jpg")
    found = read_rows(table, ",")
    assert [line for line, _ in found.lost] == [4]
    assert [row[0] for _, row in found.rows] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_a_line_of_garbage_below_a_damaged_row_stays_out_of_it():
    found = read_rows("a,b,c\n" + GOOD.replace("3.jpg", '9.jpg,8,"a "x" b"\nfoo bar\n3.jpg'), ",")
    assert [line for line, _ in found.lost] == [5]
    assert found.rows[2] == (4, ["9.jpg", "8", 'a "x" b'])
    assert len(found.rows) == 5


def test_a_row_that_can_not_be_read_swallows_no_other():
    good = '1.jpg,"a road",8\n2.jpg,"two cars, one bus",3\n3.jpg,"a b.",8\n4.jpg,"x",5\n'
    found = read_rows("a,b,c\n" + good.replace("3.jpg", '9.jpg,"a b\n3.jpg'), ",")
    assert [line for line, _ in found.lost] == [4]
    assert [row[0] for _, row in found.rows] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_no_field_with_text_is_dropped_as_empty():
    assert read_rows('a,b,c\n1,2,"x,\ny",z\n', ",").lost[0][0] == 2


def test_a_field_may_be_larger_than_the_readers_limit_which_stays_as_it_was():
    before = csv.field_size_limit()
    large = "x" * (before + 1)
    seen = []
    running = threading.Event()

    def watch():
        while not running.is_set():
            seen.append(csv.field_size_limit())

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = read_rows(f'a,b\n1,{large}\n2,"{large}, ""y"""\n3,z\n', ",")
    running.set()
    watcher.join()
    assert [row for _, row in found.rows] == [["1", large], ["2", large + ', "y"'], ["3", "z"]]
    assert set(seen) == {before}


def test_garbage_takes_seconds_and_not_hours():
    line = '"a,' * 40 + "\n"
    found = read_rows("a,b,c,d,e,f,g,h\n" + line * 2000, ",")
    assert len(found.rows) + len(found.lost) <= 2000


@pytest.mark.parametrize(
    ("name", "first", "count", "damaged"),
    [("train.csv", 2000, 8000, 21), ("test.csv", 27000, 1500, 3), ("captions-only.csv", 10000, 15000, 40)],
)
def test_real_captions_come_through_whole(name, first, count, damaged):
    path = COCO / name
    if not path.exists():
        pytest.skip(f"no {path}")
    table = read_table(path)
    assert not table.ledger
    assert [record.values["ImageID"] for record in table.records] == [f"{first + i}.jpg" for i in range(count)]
    raw = path.read_text(encoding="utf-8")
    assert f"{damaged} damaged rows" in " ".join(table.notes)
    written = Counter()
    for record in table.records:
        caption, labels = record.values["Caption"], record.values["Labels"]
        assert ".jpg" not in caption, "no caption holds another row"
        assert caption.count("\n") <= 1
        assert all(label.isdigit() for label in labels.split(" "))
        # The file never escapes a quote: each row stands in it exactly as it was read, between its quotes.
        row = f'{record.values["ImageID"]},{labels},"{caption}"\n'
        assert row in raw
        written[row] += 1
    assert sum(map(len, written)) + len("ImageID,Labels,Caption\n") == len(raw), "not a letter is left over"
