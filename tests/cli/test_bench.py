"""``clipfuse bench``: what it prints, in every form."""

import csv
import io
import json
import shutil

import pytest


def bench(project, *arguments):
    """The command, without putting what it says in the place of what the project's own said."""
    return project.run("bench", *arguments, name="bench again")


@pytest.fixture
def copied(project, tmp_path):
    """The project with copies of two runs, to which a test may add."""
    folder = tmp_path / "runs"
    for path in sorted((project.folder / "runs").iterdir()):
        if path.name.endswith(("-image", "-sum")):
            shutil.copytree(path, folder / path.name)
    return folder


def test_sorted_by_any_column(project):
    sizes = [run["total_bytes"] for run in json.loads(bench(project, "--json", "--sort", "total-mb").stdout)[0]["runs"]]
    assert sizes == sorted(sizes)
    said = bench(project, "--sort", "total-mb").stdout
    (group,) = json.loads(project.said["bench json"].stdout)
    best = max(group["runs"], key=lambda run: run["scores"]["micro_f1"])
    assert f"{best['kind']} " in said.splitlines()[-1]  # the sentence is about the best, not about the first


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--sort", "mikro-f1"], "unknown column 'mikro-f1'. Did you mean 'micro-f1'?"),
        (["--columns", "micro-f1,total-bm"], "Did you mean 'total-mb'?"),
        (["--columns", "micro-f1", "--all"], "--columns and --all are given. Choose one of them"),
        (["--columns", "micro-f1", "--json"], "--json has every column, so --columns does nothing. Leave it out"),
        (["--json", "--csv"], "--json and --csv are given. Choose one of them"),
        (["--device", "cpu"], "--device says where --rerun measures. Give --rerun, or leave it out"),
        (["--plot", "a.pdf"], "--plot a.pdf: can't draw .pdf. Name a file that ends in .svg or .png"),
    ],
)
def test_mistakes_are_one_line(project, arguments, problem):
    found = project.attempt("bench", *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert problem in found.stderr and found.stderr.count("\n") == 1


def test_columns_and_a_budget(project):
    (group,) = json.loads(project.said["bench json"].stdout)
    size_of = {run["name"]: run["total_bytes"] for run in group["runs"]}
    limit = sorted(size_of.values())[2] / 1e6
    said = bench(project, "--columns", "kind,micro-f1,total-mb", "--max-mb", limit, "--max-ms", "1000")
    assert "train s" not in said.stdout and "total MB" in said.stdout
    lines = [line.split() for line in said.stdout.splitlines()]
    shown = {words[0]: words[1] for words in lines if words and words[0] in size_of}
    assert shown == {name: "?" if size <= limit * 1e6 else "no" for name, size in size_of.items()}
    assert set(shown.values()) == {"?", "no"}
    assert "MB in all and at most 1000 ms end to end (?: not known here; clipfuse bench --rerun" in said.stdout
    (group,) = json.loads(bench(project, "--json", "--max-mb", "1").stdout)
    assert [run["fits"] for run in group["runs"]] == [False] * 6


def test_csv_has_everything_and_a_split_for_each_line(project):
    rows = list(csv.DictReader(io.StringIO(bench(project, "--csv").stdout)))
    (group,) = json.loads(project.said["bench json"].stdout)
    assert [row["run"] for row in rows] == [one["name"] for one in (*group["trivial"], *group["runs"])]
    assert {row["split"] for row in rows} == {group["split"]["name"]}
    assert [row["kind"] for row in rows[:5]] == ["trivial"] * 5
    for row, run in zip(rows[5:], group["runs"], strict=True):
        assert float(row["micro-f1"]) == run["scores"]["micro_f1"]
        assert [float(row["micro-f1-low"]), float(row["micro-f1-high"])] == run["intervals"]["micro_f1"]
        assert float(row["total-mb"]) * 1e6 == pytest.approx(run["total_bytes"])
        assert float(row["latency-ms"]) == run["features"]["latency_ms"]["median"]
        assert float(row["stage1-s"]) == run["stage_one"]["seconds"]
        assert float(row["peak-mb"]) * 1e6 == run["peak_memory"]["bytes"]
        assert row["end-to-end-ms"] == "" and row["elsewhere"] == ""


def test_markdown_is_a_table_with_the_best_in_bold(project):
    lines = bench(project, "--markdown").stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) == 2 + 5 + 6
    assert "| micro-F1 |" in table[0] and "end to end ms" in table[0] and "trained on" in table[0]
    assert any("**" in line for line in table[7:]) and not any("**" in line for line in table[:7])


def test_all_columns_fit_below_each_other(project, monkeypatch):
    from clipfuse_cli import bench_tables

    def narrow():
        from rich.console import Console

        return Console(width=120)

    monkeypatch.setattr(bench_tables, "output", narrow)
    usual, every = bench(project).stdout, bench(project, "--all").stdout
    for said in (usual, every):
        assert max(map(len, said.splitlines())) <= 120 and "…" not in said
    assert usual.count(" run ") == 3  # scores, time, size
    for word in ("weighted-F1", "GPU MB", "enc. params", "encoders"):
        assert word in every and word not in usual


def test_words_are_folded_where_they_are_too_long(project, monkeypatch):
    from clipfuse_cli import bench_tables

    def tiny():
        from rich.console import Console

        return Console(width=60)

    monkeypatch.setattr(bench_tables, "output", tiny)
    said = bench(project, "--columns", "encoders,micro-f1").stdout
    lines = [line for line in said.splitlines() if "the best trivial row" not in line]
    assert max(map(len, lines)) <= 60 and "…" not in said and "mini/projected" in said


def test_rerun_measures_and_keeps_it(project, copied, monkeypatch):
    from clipfuse import rerun
    from clipfuse.timing import Effort

    monkeypatch.setattr(rerun, "CAREFUL", Effort(seconds=0.01, passes=2, calls=2))
    said = bench(project, "--rerun", "--runs", copied, "--json")
    assert said.stderr == ""
    found = json.loads(bench(project, "--runs", copied, "--json").stdout)
    assert found == json.loads(said.stdout)
    for run in found[0]["runs"]:
        assert run["end_to_end"]["latency_ms"]["median"] > run["features"]["latency_ms"]["median"]
    said = bench(project, "--runs", copied, "--max-ms", "100000").stdout
    assert "end to end" in said and " yes " in said
    (copied / "broken").mkdir()
    run = next(copied.glob("*-sum"))
    (run / "model" / "model.safetensors").write_bytes(b"")
    said = bench(project, "--rerun", "--runs", copied)
    assert f"measured not at all ({run}" in said.stderr.replace("\n", " ")


def test_what_another_machine_measured_is_marked(project, monkeypatch):
    from clipfuse import machine

    monkeypatch.setattr(machine, "_processor", lambda: "another")
    said = bench(project).stdout
    assert "† on another machine, and not compared with the rest: " in said
    assert said.count("†") > 6
    assert "†" in bench(project, "--markdown").stdout
    rows = list(csv.DictReader(io.StringIO(bench(project, "--csv").stdout)))
    assert rows[-1]["elsewhere"] == "features; training; stage one"


def test_a_plot(project, tmp_path):
    said = bench(project, "--plot", tmp_path / "front.svg", "--sort", "map")
    assert said.stderr == f"drawn: {tmp_path / 'front.svg'}\n"
    text = (tmp_path / "front.svg").read_text()
    assert "mAP on 12 test rows" in text and "knn-concat" in text
