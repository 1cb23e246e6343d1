"""From a table and pictures to labels, as README.md tells it."""

import csv
import json
import shutil

import numpy as np
import pytest

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.metrics import evaluate
from clipfuse.run import open_run

TRIVIAL = ["no label", "most frequent label", "2 most frequent labels", "3 most frequent labels", "label prior"]
KINDS = ["image", "text", "concat", "sum", "mixed", "knn-concat"]


def test_init_says_what_it_found(project):
    said = project.said["init"]
    assert "photos.csv: 60 rows" in said.stdout
    assert "guessed: labels in column 'labels', separated by a pipe" in said.stdout
    assert "wrote clipfuse.toml; next: clipfuse extract" in said.stderr
    assert "not usable: 5 " not in said.stderr and "2 pictures" in said.stderr and "3 captions" in said.stderr
    text = (project.folder / "clipfuse.toml").read_text()
    assert text == 'cache = "features/photos"\n\n[data]\ntable = "photos.csv"\nimages = "photos"\n'


def test_extract_says_what_it_did_and_does_nothing_twice(project):
    first, second = project.said["extract"], project.said["extract again"]
    for said in (first, second):
        lines = [line.split() for line in said.stdout.splitlines()]
        assert ["mini/image/projected", "256", "60"] in [line[:3] for line in lines]
        assert "not usable: 5 pictures, 3 captions, all in features/photos/ledger.jsonl" in said.stderr
    assert "rows/s" in first.stderr and "60 rows in" in first.stderr
    assert "nothing to do: every row is there already" in second.stderr
    ledger = [json.loads(line) for line in (project.folder / "features/photos/ledger.jsonl").read_text().splitlines()]
    note = ledger.pop()
    assert (note["part"], note["note"]) == ("text", "truncated")
    assert (
        f"{note['rows']} captions truncated" in first.stderr and f"{note['rows']} captions truncated" in second.stderr
    )
    assert len(ledger) == 8
    assert all(entry["reason"] and entry["file"] == "photos.csv" and entry["line"] > 1 for entry in ledger)


@pytest.mark.parametrize("name", ["image", "text", "concat", "sum", "mixed", "knn"])
def test_train_head_shows_the_trivial_rows_and_the_labels(project, name):
    said = project.said[f"train {name}"]
    assert "12 test rows, trained on 42, tuned on 6 (split stratified-v0.1-t0.2-s0)" in said.stdout
    places = [said.stdout.index(row) for row in TRIVIAL]
    assert places == sorted(places)
    for column in ("micro-F1", "macro-F1", "samples-F1", "weighted-F1", "mAP", "subset acc.", "support", "precision"):
        assert column in said.stdout
    assert "next: clipfuse bench" in said.stderr and "runs/" in said.stderr


def test_bench_shows_all_runs(project):
    said = project.said["bench"]
    for word in [*TRIVIAL, *KINDS, "train s", "rows/s", "head MB", "enc. MB", "total MB"]:
        assert word in said.stdout
    assert said.stderr == ""


def test_bench_json_is_json_and_nothing_else(project):
    (group,) = json.loads(project.said["bench json"].stdout)
    assert sorted(run["kind"] for run in group["runs"]) == sorted(KINDS)
    assert group["rows"] == {"train": 42, "validation": 6, "test": 12}
    assert [row["name"] for row in group["trivial"]] == TRIVIAL
    scores = [run["scores"]["micro_f1"] for run in group["runs"]]
    assert scores == sorted(scores, reverse=True)
    for run in group["runs"]:
        assert run["total_bytes"] == run["head_bytes"] + run["encoder_bytes"] > 1e6
        assert run["encoders"] and run["intervals"]["micro_f1"][0] <= run["scores"]["micro_f1"]


def kinds(project):
    return {path.name.split("-", 2)[2]: path for path in (project.folder / "runs").iterdir()}


def test_predict_needs_nothing_but_a_table(project, tmp_path):
    said = project.run("predict", "photos.csv", "-o", tmp_path / "out.csv", name="predict")
    assert said.stdout == ""
    newest = max(kinds(project).values(), key=lambda path: (path / "metrics.json").stat().st_mtime_ns)
    assert f"60 rows predicted by {newest.name}" in said.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["filename", "caption", "labels"]
    with (project.folder / "photos.csv").open(newline="") as file:
        given = list(csv.DictReader(file))
    assert [(row["filename"], row["caption"]) for row in rows] == [(row["filename"], row["caption"]) for row in given]
    ledger = (tmp_path / "out.csv.ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 8 and f"all in {tmp_path / 'out.csv.ledger.jsonl'}" in said.stderr


def test_predict_by_name_with_probabilities_from_the_cache(project, tmp_path):
    run = kinds(project)["sum"]
    arguments = ("--run", run.name, "--cache", "features/photos", "--probabilities")
    project.run("predict", "photos.csv", "-o", tmp_path / "out.csv", *arguments)
    project.run("predict", "photos.csv", "-o", tmp_path / "out.jsonl", "--run", run, "--probabilities")
    with (tmp_path / "out.csv").open(newline="") as file:
        by_csv = list(csv.DictReader(file))
    by_json = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    thresholds = json.loads((run / "thresholds.json").read_text())
    for one, other in zip(by_csv, by_json, strict=True):
        values = {name: float(one[f"p({name})"]) for name in thresholds}
        assert values == pytest.approx(other["probabilities"], abs=1e-3)
        over = [name for name, value in values.items() if value >= thresholds[name]]
        assert one["labels"].split("|") == over or (one["labels"] == "" and not over)
    # what was written is a table that can be read
    dataset = load_dataset(TableConfig(table=tmp_path / "out.csv"))
    assert len(dataset) == 60


def test_evaluate_shows_the_runs_own_test_rows(project):
    run = kinds(project)["mixed"]
    said = project.run("evaluate", "--run", run, name="evaluate")
    assert f"{run.name}: 12 test rows, trained on 42" in said.stdout
    found = json.loads(project.run("evaluate", "--run", run.name, "--json").stdout)
    assert found == json.loads((run / "metrics.json").read_text())


def test_evaluate_chooses_by_the_runs_rule_for_empty_rows(project, tmp_path):
    rule = ("--empty-rows", "most-probable", "--epochs", "20", "--learning-rate", "0.01", "--runs", tmp_path)
    project.run("train-head", "--fusion", "image", "--hidden", "16", *rule)
    said = project.run("evaluate", "photos.csv", "--runs", tmp_path, "--cache", "features/photos", "--json")
    run = open_run(next(tmp_path.iterdir()))
    kept = run.predictions()
    plain, ruled = (
        evaluate(kept.probabilities, kept.targets, 0.5, run.labels, empty_rows=empty_rows).micro_f1
        for empty_rows in ("nothing", "most-probable")
    )
    assert json.loads(said.stdout)["scores"]["micro_f1"] == pytest.approx(ruled) != pytest.approx(plain)


def test_evaluate_on_a_table_says_how_many_rows_it_knows(project, tmp_path):
    run = kinds(project)["sum"]
    arguments = ("evaluate", "photos.csv", "--run", run, "--cache", "features/photos")
    said = project.run(*arguments)
    assert "on 60 rows of photos.csv; by their ids 48 of them trained or tuned it, which flatters it" in said.stdout
    assert all(row in said.stdout for row in TRIVIAL)
    found = json.loads(project.run(*arguments, "--json").stdout)
    assert (found["rows"], found["rows_seen_in_training"], found["run"]) == (60, 48, run.name)
    # the run's own test rows alone give the run's own scores
    test = set(json.loads(next((project.folder / "features/photos/splits").iterdir()).read_text())["roles"]["test"])
    lines = (project.folder / "photos.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join([lines[0], *(line for line in lines if line.split(",")[0] in test)]))
    said = project.run("evaluate", tmp_path / "test.csv", "--images", "photos", *arguments[2:], "--json")
    own, again = json.loads((run / "metrics.json").read_text()), json.loads(said.stdout)
    assert again["rows_seen_in_training"] == 0
    assert again["scores"]["micro_f1"] == pytest.approx(own["scores"]["test"]["scores"]["micro_f1"])
    assert [row["scores"]["micro_f1"] for row in again["trivial"]] == pytest.approx(
        [row["scores"]["micro_f1"] for row in own["trivial"]]
    )


def test_cache_info(project):
    said = project.run("cache", "info", name="cache info")
    assert "features/photos: 60 samples of photos.csv, 11 labels" in said.stdout
    assert "split stratified-v0.1-t0.2-s0: 42 / 6 / 12" in said.stdout
    about = json.loads(project.run("cache", "info", "features/photos", "--json").stdout)
    assert {table["name"]: (table["valid"], table["failed"]) for table in about["tables"]}["mini/image/projected"] == (
        55,
        3,
    )
    assert all(table["state"] == "complete" for table in about["tables"])


def test_encoders(project):
    said = project.run("encoders")
    assert "mini" in said.stdout and "clip:ViT-L-14-quickgelu/openai" in said.stdout
    listed = json.loads(project.run("encoders", "--json").stdout)
    assert listed["encoders"][0]["name"] == "mini"
    assert "clip:MODEL/TAG" in listed["forms"]


def test_nothing_half_written_is_left(project):
    assert not [name for name in project.files() if name.endswith(".tmp") or ".partial" in name]


def test_strict_is_3_and_writes_all_the_same(project, tmp_path):
    for arguments in (
        ["predict", "photos.csv", "-o", tmp_path / "out.csv", "--cache", "features/photos", "--strict"],
        ["extract", "--strict"],
        ["evaluate", "photos.csv", "--cache", "features/photos", "--strict"],
    ):
        result = project.attempt(*arguments)
        assert result.exit_code == 3, arguments
        assert "not usable: " in result.stderr
    assert (tmp_path / "out.csv").exists()


@pytest.fixture
def shapes(tmp_path, project):
    """Tables of one and the same 40 rows: labels joined, as 0/1 columns, as JSON lists."""
    shutil.copytree(project.folder / "photos", tmp_path / "photos")
    with (project.folder / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:40]
    names = sorted({name for row in rows for name in row["labels"].split("|") if name})
    with (tmp_path / "columns.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["name", *names, "text", "file"])
        for n, row in enumerate(rows):
            flags = [int(name in row["labels"].split("|")) for name in names]
            writer.writerow([n, *flags, row["caption"], row["filename"]])
    records = [
        {
            "id": f"r{n}",
            "labels": [name for name in row["labels"].split("|") if name],
            "text": row["caption"],
            "image": row["filename"],
        }
        for n, row in enumerate(rows)
    ]
    (tmp_path / "lists.json").write_text(json.dumps(records))
    return tmp_path, names


def trained_on(cli, table, *arguments):
    for command in (
        ("init", table, "--images", "photos", *arguments),
        ("extract",),
        ("train-head", "--fusion", "text", "--epochs", "2"),
    ):
        result = cli(*command)
        assert result.exit_code == 0, result.stderr


def test_columns_of_0_and_1_come_back(shapes, cli):
    folder, names = shapes
    trained_on(cli, "columns.tsv", "--id-column", "name")
    assert cli("predict", "columns.tsv", "-o", "out.tsv").exit_code == 0
    with (folder / "out.tsv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert rows[0] == ["name", *names, "text", "file"]
    assert {cell for row in rows[1:] for cell in row[1 : 1 + len(names)]} <= {"0", "1"}
    assert [row[0] for row in rows[1:]] == [str(n) for n in range(40)]
    found = load_dataset(TableConfig(table=folder / "out.tsv", id_column="name", label_columns=tuple(names)))
    assert found.labels.shape == (40, len(names))


def test_lists_come_back_as_lists(shapes, cli):
    folder, names = shapes
    trained_on(cli, "lists.json")
    bare = [
        {key: row[key] for key in ("id", "text", "image")} for row in json.loads((folder / "lists.json").read_text())
    ]
    (folder / "new.json").write_text(json.dumps(bare[:5]))
    assert cli("predict", "new.json", "-o", "out.json").exit_code == 0
    found = json.loads((folder / "out.json").read_text())
    assert [list(row) for row in found] == [["id", "labels", "text", "image"]] * 5
    assert [row["id"] for row in found] == ["r0", "r1", "r2", "r3", "r4"]
    assert all(isinstance(row["labels"], list) and set(row["labels"]) <= set(names) for row in found)


def test_a_test_table_with_pictures_of_its_own(shapes, cli):
    """predict and evaluate look for each table's pictures where clipfuse.toml says that they are."""
    folder, _ = shapes
    records = json.loads((folder / "lists.json").read_text())
    (folder / "a").mkdir(), (folder / "b").mkdir()
    (folder / "a/data.json").write_text(json.dumps(records[:28]))
    (folder / "b/data.json").write_text(json.dumps(records[28:]))
    for record in records[28:]:
        source = folder / "photos" / record["image"]
        if source.exists():
            source.rename(folder / "b" / record["image"])
    more = ("--test-table", "b/data.json", "--test-images", "b")
    assert cli("init", "a/data.json", "--images", "photos", *more).exit_code == 0
    assert cli("extract").exit_code == 0
    result = cli("train-head", "--fusion", "image", "--epochs", "2")
    assert result.exit_code == 0, result.stderr
    assert "12 test rows, trained on 25, tuned on 3 (split test-table-v0.1-s0)" in result.stdout
    found = json.loads(cli("evaluate", "b/data.json", "--json").stdout)
    own = json.loads(cli("evaluate", "--json").stdout)
    assert found["rows_seen_in_training"] == 0
    assert found["scores"]["micro_f1"] == pytest.approx(own["scores"]["test"]["scores"]["micro_f1"], abs=1e-6)
    assert own["missing"]["image"]["test"] <= 5


def test_thresholds_refit_and_splits_by_options(project, tmp_path):
    before = project.files()
    said = project.run(
        *("train-head", "--fusion", "concat", "--head", "linear", "--epochs", "2", "--runs", tmp_path / "runs"),
        *("--thresholds", "per-label", "--refit", "all", "--split", "position", "--test", "0.5", "--seed", "3"),
        name="train options",
    )
    (run,) = (tmp_path / "runs").iterdir()
    assert "30 test rows, trained on 24, tuned on 6 (split position-v0.1-t0.5)" in said.stdout
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["refit"], metrics["thresholds"]) == ("all", "per-label")
    assert np.unique(list(json.loads((run / "thresholds.json").read_text()).values())).size > 1
    assert project.files() - before == {"features/photos/splits/position-v0.1-t0.5.json"}
    seen = json.loads(
        project.run("evaluate", "photos.csv", "--cache", "features/photos", "--run", run, "--json").stdout
    )
    assert seen["rows_seen_in_training"] == 60  # after a refit the model has seen its test rows, too
