"""clipfuse export, and predictions of what it writes."""

import pytest

from clipfuse.export import onnx_file


@pytest.fixture
def run_name(project):
    return next(path.name for path in sorted((project.folder / "runs").iterdir()) if path.name.endswith("-sum"))


def test_a_bundle_predicts_as_its_run(project, run_name, tmp_path):
    for target in (tmp_path / "photos", tmp_path / "photos.zip"):
        made = project.attempt("export", run_name, "--to", "bundle", "--with-encoder-weights", "-o", target)
        assert made.exit_code == 0, made.stderr
        assert "13 files" not in made.stderr and "12 files" in made.stderr and "image, text encoders" in made.stderr
        said = project.attempt("predict", "photos.csv", "--run", target, "-o", tmp_path / f"{target.name}.csv")
        assert said.exit_code == 0, said.stderr
    project.attempt("predict", "photos.csv", "--run", run_name, "-o", tmp_path / "own.csv")
    own = (tmp_path / "own.csv").read_bytes()
    assert own == (tmp_path / "photos.csv").read_bytes() == (tmp_path / "photos.zip.csv").read_bytes()


def test_evaluate_says_that_a_bundle_knows_no_rows(project, run_name, tmp_path):
    project.attempt("export", run_name, "--to", "bundle", "-o", tmp_path / "photos")
    shown = project.attempt("evaluate", "photos.csv", "--run", tmp_path / "photos")
    assert shown.exit_code == 0 and "a bundle does not know whether they trained or tuned it" in shown.stdout


def test_an_onnx_file_is_written_and_told(project, run_name, tmp_path, monkeypatch):
    def write(graph, inputs, path, metadata):
        path.write_bytes(b"onnx")
        return 3e-8

    monkeypatch.setattr(onnx_file, "write_graph", write)  # tests/export writes real ones
    made = project.attempt("export", run_name, "-o", tmp_path / "x.onnx")
    assert made.exit_code == 0 and made.stdout == ""
    assert "reads image (batch, 1, 256), text (batch, 1, 256), image_present (batch)" in made.stderr
    assert "compared with torch: at most 3e-08 apart" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "pickle"], "there is no such form. Choose one of onnx, bundle"),
        (["--to", "bundle", "--with-encoder"], "Write --with-encoder-weights"),
        (["--with-encoder-weights"], "Write --with-encoder"),
        (["--image-encoder", "mini"], "Add --with-encoder"),
        (["-o", "x.pt"], "Write x.onnx"),
    ],
)
def test_wrong_usage(project, run_name, arguments, message):
    failed = project.attempt("export", run_name, *arguments)
    assert failed.exit_code == 2 and message in failed.stderr


def test_a_baseline_is_refused_in_a_line(project):
    knn = next(path.name for path in (project.folder / "runs").iterdir() if "-knn-" in path.name)
    failed = project.attempt("export", knn)
    assert failed.exit_code == 1 and "head knn is scikit-learn's" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_tensorboard_on_request(project, tmp_path):
    quick = ("--fusion", "image", "--hidden", "8", "--epochs", "2", "--runs", tmp_path / "runs")
    made = project.attempt("train-head", *quick, "--tensorboard", tmp_path / "board")
    assert made.exit_code == 0 and "for TensorBoard: " in made.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert list((tmp_path / "board" / run.name).glob("*/events.out.tfevents.*"))
    assert len((run / "history.jsonl").read_text().splitlines()) == 2
