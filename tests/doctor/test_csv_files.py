"""CSV for spreadsheets: every row, and no formula."""

import csv
import io

import pytest

from clipfuse.doctor import Finding, write_findings
from clipfuse.doctor.csv_files import as_csv
from clipfuse.errors import CacheError

ABOUT = Finding("name", "Title", "Why.", "rows")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "＝1", "\n=2", '=HYPERLINK("x")']
)
def test_what_a_spreadsheet_would_run_has_an_apostrophe(text):
    data = as_csv(ABOUT.found(("id", text), [(text, -0.5)], 1)).decode("utf-8-sig")
    header, (cell, number) = csv.reader(io.StringIO(data, newline=""))
    assert cell == "'" + text and header[1] == "'" + text and number == "-0.5"


def test_everything_else_stays(tmp_path):
    words = ("a, b", 'say "x"', "two\nlines", "é 👍", "", "a=b", "3-1")
    finding = ABOUT.found(("text", "n", "is"), [(word, n, n > 2) for n, word in enumerate(words)], 7)
    empty = Finding("empty", "Title", "Why.", "rows")
    (path,) = write_findings(tmp_path / "new" / "folder", [finding, empty])
    assert path.name == "name.csv" and path.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    assert rows[1:] == [[word, str(n), "yes" if n > 2 else "no"] for n, word in enumerate(words)]
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="can't make"):
        write_findings(tmp_path / "file" / "below", [finding])


def test_what_is_no_longer_found_leaves_no_table(tmp_path):
    found = ABOUT.found(("a",), [(1,)], 5)
    (path,) = write_findings(tmp_path, [found])
    (tmp_path / "other.csv").write_text("mine")
    assert write_findings(tmp_path, [ABOUT.without("no pictures")]) == [] and path.exists()
    assert write_findings(tmp_path, [ABOUT.found(("a",), [], 5)]) == []
    assert [one.name for one in tmp_path.iterdir()] == ["other.csv"]


def test_counts_in_words():
    assert ABOUT.found(("a",), [(1,)], 5, "1 of train").summary == "1 row among 5 rows (1 of train)"
    assert ABOUT.without("no pictures").summary == "not looked for: no pictures"
