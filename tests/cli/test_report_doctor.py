"""``clipfuse report`` and ``clipfuse doctor`` as people type them."""

import csv
import json
import shutil

import pytest
from report.reading import Read


@pytest.fixture(scope="module")
def written(project):
    """The report of two runs, and what the command said."""
    names = sorted(path.name for path in (project.folder / "runs").iterdir() if path.name.endswith(("-image", "-sum")))
    said = project.run("report", *names, "-o", "two.html", "--rows", "2", name="report")
    content = (project.folder / "two.html").read_bytes()
    (project.folder / "two.html").unlink()
    return said, Read(content), names


def test_report(project, written):
    said, page, names = written
    assert said.stdout == "" and said.stderr.startswith("two.html: 2 runs, ")
    assert [one.get("id") for one in page.named("section")][:3] == ["trained", "scores-0", "labels-0"]
    assert [row[1] for row in page.tables("trained")[0][1:]] == names
    assert page.named("img")  # pictures by clipfuse.toml
    overview = {row[0]: row[1:] for row in page.tables("health")[0][1:]}
    assert overview["Equal pictures"][0].isdigit() and int(overview["Missing parts"][0]) >= 5
    assert names[0] in overview["Labels that are probably wrong"][3]
    assert overview["Pictures and captions that don't fit"][2] != "–"  # mini is a CLIP


def test_report_of_the_newest_run_without_pictures(project, tmp_path):
    from cli.conftest import run_in  # a folder without clipfuse.toml

    found = run_in(tmp_path, "report", "--runs", project.folder / "runs", "--no-health")
    assert found.exit_code == 0 and "no captions and no health of the data" in found.stderr
    page = Read((tmp_path / "report.html").read_bytes())
    named = ("--table", project.folder / "photos.csv", "--images", project.folder / "photos", "--no-health")
    given = run_in(tmp_path, "report", "--runs", project.folder / "runs", *named, "--rows", "1")
    assert given.exit_code == 0 and Read((tmp_path / "report.html").read_bytes()).named("img")
    assert not page.named("img") and "no table or pictures known" in page.words()
    assert not [one for one in page.named("section") if one.get("id") == "health"]


def test_report_of_a_project_that_was_moved(project, tmp_path):
    """The cache of clipfuse.toml stands in for the one that the run names, if it has the run's split."""
    from cli.conftest import run_in

    run = next(path for path in (project.folder / "runs").iterdir() if path.name.endswith("-sum"))
    shutil.copytree(run, tmp_path / "runs" / run.name)
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    (tmp_path / "runs" / run.name / "metrics.json").write_text(json.dumps(metrics | {"cache": "gone/photos"}))
    (tmp_path / "clipfuse.toml").write_text(f"cache = {json.dumps(str(project.folder / metrics['cache']))}\n")
    found = run_in(tmp_path, "report", "--rows", "0")
    assert found.exit_code == 0 and "no captions" not in found.stderr
    assert [one for one in Read((tmp_path / "report.html").read_bytes()).named("section") if one.get("id") == "health"]
    (tmp_path / "clipfuse.toml").write_text('cache = "nowhere"\n')
    assert "gone/photos is not a feature cache" in run_in(tmp_path, "report", "--rows", "0").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["report", "-o", "a.pdf"], 2, "-o a.pdf: a report is HTML. Name a file that ends in .html"),
        (["report", "no-such-run"], 1, "no-such-run is not a run directory"),
        (["report", "--cache", "nowhere"], 1, "nowhere is not a feature cache"),
        (["doctor", "nowhere"], 1, "nowhere is not a feature cache"),
        (["doctor", "--split", "strange"], 1, "has no split 'strange'. It has: "),
        (["doctor", "--folds", "1"], 2, "--folds 1 leaves no rows to train on"),
    ],
)
def test_mistakes_are_one_line(project, arguments, code, problem):
    found = project.attempt(*arguments)
    assert (found.exit_code, found.stdout) == (code, "")
    assert problem in found.stderr and found.stderr.count("\n") == 1


def test_without_jinja2_it_says_what_to_install(project, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    found = project.attempt("report", "-o", "x.html")
    assert found.exit_code == 2 and "a report needs jinja2. pip install 'clipfuse[report]'" in found.stderr


def test_doctor(project, tmp_path):
    before = project.files()
    out = tmp_path / "to-mend"
    run = next(path.name for path in (project.folder / "runs").iterdir() if path.name.endswith("-sum"))
    said = project.run("doctor", "--run", run, "-o", out, name="doctor")
    assert project.files() == before
    assert "Missing parts: " in said.stdout and "Equal captions: 0 pairs among 57 rows" in said.stdout
    assert f"tables written to {out}" in said.stderr
    with (out / "missing-parts.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["missing"] for row in rows} >= {"picture", "caption"} and rows[0]["line"].startswith("photos.csv:")

    found = json.loads(project.run("doctor", "--folds", "0", "--json", name="doctor json").stdout)
    assert found["rows"] == 60 and found["split"].startswith("stratified")
    findings = {one["name"]: one for one in found["findings"]}
    assert findings["missing-parts"]["count"] == len({row["id"] for row in rows})
    assert findings["likely-wrong-labels"]["skipped"] and findings["misfits"]["looked_at"] > 50
    assert findings["odd-pictures"]["looked_at"] > 50
    assert "\x1b" not in said.stdout
