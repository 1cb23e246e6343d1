"""What people do beside the README: tables that change, paths written otherwise, narrow terminals."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from clipfuse_cache import FeatureCache

QUICK = ("--epochs", "1", "--hidden", "8")


def draw(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (32, 24), (number * 7 % 256, number * 31 % 256, 99)).save(folder / name)


def table(path, numbers, split=None, extra=""):
    """A table of captions and labels; odd rows show a dog, every third one grass."""
    lines = ["filename,caption,labels" + (",part" if split else "")]
    for n in numbers:
        labels = "|".join(
            [*(["dog"] if n % 2 else []), *(["grass"] if n % 3 == 0 else []), *([extra] if extra else [])]
        )
        row = f"p{n}.png,a {'dog' if n % 2 else 'cat'} {'on grass' if n % 3 == 0 else 'inside'} {n},{labels}"
        lines.append(row + (f",{split(n)}" if split else ""))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def done(cli):
    """A command that must succeed."""

    def run(*arguments):
        result = cli(*arguments)
        assert result.exit_code == 0, result.stderr
        return result

    return run


@pytest.fixture
def photos(tmp_path):
    draw(tmp_path / "photos", [f"p{n}.png" for n in range(60)])
    table(tmp_path / "a.csv", range(40))
    table(tmp_path / "b.csv", range(40, 60))
    return tmp_path


def test_the_second_table_takes_the_pictures_of_the_first(photos, done):
    done("init", "a.csv", "--images", "photos", "--test-table", "b.csv")
    said = done("extract")
    assert "not one picture" not in said.stderr
    run = done("train-head", "--fusion", "sum", *QUICK)
    assert "20 test rows" in run.stdout and "without picture" not in run.stdout


def test_pictures_that_are_nowhere_are_told_and_not_trained_on(photos, cli, done):
    said = done("extract", "a.csv")
    assert "warning: not one picture that a.csv names was found; say where they are with --images" in said.stderr
    assert "next: clipfuse train-head --fusion text" in said.stderr
    refused = cli("train-head", "--fusion", "image", *QUICK)
    assert refused.exit_code == 1 and "holds no features of pictures" in refused.stderr


def test_a_role_without_any_picture_is_refused(photos, cli, done):
    shutil.rmtree(photos / "photos")
    draw(photos / "photos", [f"p{n}.png" for n in range(40)])
    done("init", "a.csv", "--images", "photos", "--test-table", "b.csv")
    done("extract")
    refused = cli("train-head", "--fusion", "image", *QUICK)
    assert refused.exit_code == 2 and "not one of the 20 test rows has a picture" in refused.stderr


def test_an_edited_table_is_not_trained_on_as_it_was(photos, cli, done):
    done("init", "a.csv", "--images", "photos")
    done("extract")
    done("train-head", "--fusion", "text", *QUICK)
    table(photos / "a.csv", range(40), extra="kite")
    later = (photos / "features" / "a" / "samples.h5").stat().st_mtime + 10
    os.utime(photos / "a.csv", (later, later))
    refused = cli("train-head", "--fusion", "text", *QUICK)
    assert refused.exit_code == 2 and "a.csv has changed since its features were extracted" in refused.stderr
    assert "Run clipfuse extract" in refused.stderr
    os.utime(photos / "a.csv", (later - 1000, later - 1000))
    assert "nothing to do" in done("extract").stderr
    assert "kite" in done("train-head", "--fusion", "text", *QUICK).stdout


def test_the_cache_of_other_samples_is_left_alone(photos, cli, done):
    done("extract", "a.csv", "--images", "photos", "--cache", "features/x")
    before = (photos / "features" / "x" / "samples.h5").read_bytes()
    refused = cli("extract", "b.csv", "--images", "photos", "--cache", "features/x")
    assert refused.exit_code == 1 and "is about other samples: 40 of a.csv" in refused.stderr
    assert (photos / "features" / "x" / "samples.h5").read_bytes() == before
    table(photos / "a.csv", range(10, 40))
    assert (
        "10 rows are no longer in the table, the first is 'p0.png'"
        in done("extract", "a.csv", "--images", "photos", "--cache", "features/x").stderr
    )


def test_the_same_table_by_another_path_keeps_its_settings(photos, done):
    done("init", "a.csv", "--images", "photos")
    said = done("extract", photos / "a.csv")
    assert "mini/image/projected" in said.stdout


def test_a_split_column_is_used(photos, cli, done):
    table(photos / "c.csv", range(40), split=lambda n: "train" if n < 24 else "dev" if n < 30 else "test")
    done("init", "c.csv", "--images", "photos", "--split-column", "part")
    done("extract")
    said = done("train-head", "--fusion", "text", *QUICK)
    assert "10 test rows, trained on 24, tuned on 6 (split column)" in said.stdout


def test_a_split_of_one_s_own_does_not_go_with_a_second_table(photos, cli, done):
    done("init", "a.csv", "--images", "photos", "--test-table", "b.csv")
    done("extract")
    refused = cli("train-head", "--split", "position", *QUICK)
    assert refused.exit_code == 2 and "the test rows are those of b.csv" in refused.stderr


def test_the_ledger_remembers_what_another_encoder_could_not_use(photos, done):
    (photos / "photos" / "p3.png").write_bytes(b"")
    done("extract", "a.csv", "--images", "photos")
    done("extract", "a.csv", "--images", "photos", "--storage", "float32")
    table(photos / "a.csv", range(39))
    done("extract", "a.csv", "--images", "photos")
    assert (photos / "features" / "a" / "ledger.jsonl").read_text().count("p3.png") == 1


def test_labels_that_hold_the_separator_are_refused_before_anything_is_encoded(photos, cli):
    (photos / "b.json").write_text('[{"id": "x", "text": "a dog", "labels": ["a|b"]}]')
    refused = cli("extract", "a.csv", "--images", "photos", "--test-table", "b.json")
    assert refused.exit_code == 1 and "label 'a|b' holds '|'" in refused.stderr
    assert not (photos / "features").exists()


def test_tables_fit_a_narrow_terminal(project, monkeypatch):
    from clipfuse_cli import bench_tables, console, tables

    def narrow():
        from rich.console import Console

        return Console(width=80)

    monkeypatch.setattr(tables, "output", narrow)
    monkeypatch.setattr(bench_tables, "output", narrow)
    monkeypatch.setattr(console, "output", narrow)
    for command in (("bench",), ("evaluate",)):
        said = project.attempt(*command).stdout
        assert "…" not in said
        lines = [line for line in said.splitlines() if "the best trivial row" not in line]  # a sentence
        assert max(map(len, lines)) <= 80
        assert "micro-F1" in said and "mAP" in said


def test_a_mistake_of_ours_is_one_line(cli, monkeypatch):
    import clipfuse.project

    def broken(_folder):
        raise RuntimeError("something\nodd")

    monkeypatch.setattr(clipfuse.project, "load_project", broken)
    result = cli("extract", "a.csv")
    assert result.exit_code == 1
    assert result.stderr.startswith("clipfuse: error: unexpected RuntimeError: something odd.")
    assert "CLIPFUSE_TRACEBACK=1" in result.stderr


@pytest.mark.parametrize("error", [MemoryError("4 GB"), RuntimeError("CUDA out of memory. Tried to allocate")])
def test_too_little_memory_says_what_to_change(cli, monkeypatch, error):
    import clipfuse.project

    def full(_folder):
        raise error

    monkeypatch.setattr(clipfuse.project, "load_project", full)
    assert "Lower --batch-size" in cli("extract", "a.csv").stderr


def test_the_demo_leaves_a_project_alone(project):
    before = project.files()
    refused = project.attempt("demo", "--folder", ".", "--rows", "60")
    assert refused.exit_code == 2 and "holds work of its own" in refused.stderr
    assert project.files() == before


def test_an_encoder_is_named_by_the_end_of_its_name(photos, done):
    folder = photos / "models" / "small"
    from clipfuse.encoders import ALIASES

    shutil.copytree(ALIASES["mini"].target.removeprefix("clip:local-dir:"), folder)
    done("extract", "a.csv", "--images", "photos", "--encoder", f"clip:local-dir:{folder}", "--cache", "c")
    done("train-head", "--cache", "c", "--fusion", "text", "--text-encoder", "small", *QUICK)


def test_columns_of_numbers_go_into_the_cache(tmp_path, done):
    (tmp_path / "n.csv").write_text("id,caption,likes,age\n1,a dog,3,x\n2,a cat,,4.5\n")
    done("init", "n.csv", "--number-column", "age", "--number-column", "likes")
    said = done("extract")
    assert "1 rows with cells that are no numbers" in said.stderr
    samples = FeatureCache(tmp_path / "features" / "n").samples()
    assert samples.number_names == ("age", "likes")
    assert np.array_equal(samples.numbers, [[np.nan, 3], [4.5, np.nan]], equal_nan=True)
