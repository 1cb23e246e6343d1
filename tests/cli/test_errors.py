"""What goes wrong is one line on stderr that says what, where and what to type; nothing half-written is left."""

import json
import shutil

import pytest

GOOD = "filename,caption,labels\na.png,a dog,dog|grass\nb.png,a cat,cat\n"
NO_LABELS = "filename,caption\na.png,a dog\n"


def tree(folder):
    """Every file below ``folder`` with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(result, code, *words):
    assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("clipfuse: error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr, result.stderr


def usage(result, *words):
    """What typer refuses itself."""
    assert result.exit_code == 2
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def copy(project, tmp_path):
    """A copy of the project that went the whole way, and its commands."""
    folder = tmp_path / "copy"
    shutil.copytree(project.folder, folder)
    return type(project)(folder)


class TestTables:
    @pytest.mark.parametrize("command", ["init", "extract"])
    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("photos.csv", None, ["photos.csv"]),
            ("photos.csv", "", ["photos.csv"]),
            ("photos.csv", "filename,caption,labels\n", ["photos.csv has no rows", "at least one row"]),
            ("photos.csv", "id,caption\n1,x\n1,y\n", ["id '1' stands at photos.csv:2 and at photos.csv:3"]),
            ("photos.csv", "a,b\n1,2\n", ["photos.csv has no column of pictures or captions", "'a', 'b'"]),
            ("photos.xlsx", "x", ["photos.xlsx is no table that clipfuse reads", ".csv"]),
            ("photos.json", "[{", ["photos.json"]),
            ("photos.json", "3", ["photos.json"]),
            ("photos.csv", b"\x00\x01\x02\x89PNG", ["photos.csv"]),
        ],
        ids=["missing", "empty", "header", "duplicate", "columns", "suffix", "torn json", "number", "binary"],
    )
    def test_that_are_none(self, cli, write, tmp_path, command, name, content, words):
        if content is not None:
            write(name, content)
        before = tree(tmp_path)
        refused(cli(command, name), 1, *words)
        assert tree(tmp_path) == before

    def test_a_folder(self, cli, tmp_path):
        (tmp_path / "photos.csv").mkdir()
        refused(cli("init", "photos.csv"), 1, "photos.csv")

    @pytest.mark.parametrize("option", ["--id-column", "--image-column", "--caption-column", "--label-column"])
    def test_columns_that_are_not_there(self, cli, write, option):
        write("photos.csv", GOOD)
        refused(cli("init", "photos.csv", option, "captoin"), 1, "captoin", "photos.csv")

    def test_pictures_that_are_not_there(self, cli, write, tmp_path):
        write("photos.csv", GOOD)
        write("torn.zip", "no zip")
        for images in ("nowhere", "nowhere.tar", "torn.zip"):
            for command in ("init", "extract"):
                refused(cli(command, "photos.csv", "--images", images), 1, images)
        assert set(tree(tmp_path)) == {"photos.csv", "torn.zip"}

    def test_nothing_to_read(self, cli, write, tmp_path):
        write("photos.csv", "filename,labels\na.png,x\nb.png,y\n")
        (tmp_path / "empty").mkdir()
        refused(cli("extract", "photos.csv", "--images", "empty"), 1, "--images")
        assert not (tmp_path / "features").exists()

    def test_test_pictures_without_a_test_table(self, cli, write):
        write("photos.csv", GOOD)
        refused(cli("init", "photos.csv", "--test-images", "x"), 2, "--test-images", "--test-table")

    def test_no_table_is_named(self, cli):
        refused(cli("extract"), 2, "no table is named", "clipfuse init")
        usage(cli("init"), "Missing argument")

    def test_a_clipfuse_toml_that_is_there(self, cli, write, tmp_path):
        write("photos.csv", GOOD)
        assert cli("init", "photos.csv").exit_code == 0
        before = tree(tmp_path)
        refused(cli("init", "photos.csv"), 2, "clipfuse.toml is here already", "--force")
        assert tree(tmp_path) == before
        assert cli("init", "photos.csv", "--force").exit_code == 0

    def test_names_that_look_like_markup(self, cli, write):
        write("data[red].csv", GOOD)
        write("x[/bold].csv", GOOD)
        for name in ("data[red].csv", "x[/bold].csv"):
            result = cli("init", name, "--force")
            assert result.exit_code == 0
            assert f"{name}: 2 rows" in result.stdout


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[trian]\n", ["unknown setting 'trian'", "Did you mean 'train'"]),
            ("[extract]\nencoder = ['mini']\n", ["'extract.encoder'", "Did you mean 'encoders'"]),
            ("[train.fit]\nepochs = 'many'\n", ["train.fit.epochs is 'many'"]),
            ("[train", ["can't be read"]),
        ],
    )
    @pytest.mark.parametrize("command", [["extract"], ["train-head"], ["bench"], ["predict", "x.csv", "-o", "y.csv"]])
    def test_a_bad_clipfuse_toml(self, cli, write, command, text, words):
        write("clipfuse.toml", text)
        refused(cli(*command), 2, "clipfuse.toml", *words)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--fusion", "summ"], ["unknown fusion 'summ'", "'sum'"]),
            (["--head", "mpl"], ["unknown head 'mpl'", "'mlp'"]),
            (["--head", "knn", "--fusion", "gated"], ["knn", "--fusion image, text, numbers, concat"]),
            (["--hidden", "12,x"], ["--hidden is '12,x'", "1024,512"]),
            (["--hidden", "-3"], ["hidden", "-3", "greater than 0"]),
            (["--epochs", "0"], ["train.fit.epochs is 0"]),
            (["--learning-rate", "1e30"], ["learning_rate"]),
            (["--dropout", "1"], ["dropout"]),
            (["--stacking", "oof"], ["stacking.method is 'oof'", "'out-of-fold'"]),
            (["--thresholds", "best"], ["thresholds is 'best'", "'per-label'"]),
            (["--split", "random"], ["split.method is 'random'", "'stratified'"]),
            (["--test", "0.99", "--validation", "0.5"], ["validation", "test"]),
            (["--split", "column"], ["no split column", "--split-column"]),
            (["--test-table", "other.csv"], ["other.csv", "--test-table other.csv"]),
            (["--image-encoder", "minni", "--fusion", "image"], ["'minni' is not in the cache", "Did you mean 'mini'"]),
            (["--text-output", "poled", "--fusion", "text"], ["no output 'poled'", "'pooled'"]),
            (["--device", "gpu"], ["unknown device 'gpu'", "cuda"]),
            (["--seed", "-1"], ["train.seed is -1"]),
            (["--recipe", "s2-smu"], ["unknown recipe 's2-smu'", "'s2-sum'"]),
            (["--head", "linear", "--hidden", "3"], ["head linear: unknown setting 'hidden'"]),
            (["--batch-size", "some"], ["--batch-size is 'some'", "or all"]),
            (["--modalities", "image,sound"], ["modalities.1 is 'sound'", "'numbers'"]),
            (["--loss", "bec"], ["unknown loss 'bec'", "'bce'"]),
            (["--oversample", "0.5", "--undersample", "0.1"], ["undersample is 0.1", "oversample (0.5)"]),
            (["--set", "fit.epoch=3"], ["unknown setting 'train.fit.epoch'", "'epochs'"]),
            (["--set", "head.blocks=3"], ["head mlp: unknown setting 'blocks'"]),
            (["--set", "fusion.combiner.kind=avrage"], ["unknown combiner 'avrage'", "'average'"]),
            (["--set", "parts.imgae.fit.epochs=3"], ["unknown part 'imgae'", "'image'"]),
            (["--set", "stacking.fit.epochs=many"], ["train.stacking.fit.epochs is 'many'"]),
            (["--from", "a-run", "--recipe", "s2-sum"], ["--from takes", "--recipe others"]),
            (["--refit", "all", "--stacking", "validation"], ["none are left", "--stacking out-of-fold"]),
            (["--set", "head.blocks"], ["--set is 'head.blocks'", "--set head.blocks=3"]),
            (["--set", "fit=3", "--set", "fit.epochs=3"], ["--set fit.epochs=3: fit was set"]),
        ],
    )
    def test_of_train_head(self, project, arguments, words):
        before = set(project.files())
        refused(project.attempt("train-head", *arguments), 2, *words)
        assert set(project.files()) == before

    def test_no_seed_at_all(self, project):
        said = project.attempt("train-head", "--cross-validate", "3", "--seeds", "0")
        assert said.exit_code == 2 and "'--seeds'" in said.stderr

    def test_a_device_that_is_not_there(self, project, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        refused(project.attempt("train-head", "--device", "cuda"), 2, "no GPU", "--device cpu")

    def test_batch_norm_on_one_row(self, project):
        before = set(project.files())
        refused(project.attempt("train-head", "--head", "gmlp", "--batch-size", "1"), 1, "one row", "--batch-size")
        assert set(project.files()) == before

    def test_an_unknown_encoder(self, project):
        refused(project.attempt("extract", "--encoder", "minni"), 2, "unknown encoder 'minni'", "'mini'")
        refused(project.attempt("extract", "--encoder", "clp:x"), 2, "clp", "clip")

    def test_weights_that_are_not_there(self, project):
        before = set(project.files())
        refused(project.attempt("extract", "--encoder", "clip:local-dir:nowhere"), 1, "nowhere")
        assert set(project.files()) == before

    @pytest.mark.parametrize(
        "arguments",
        [
            ["train-head", "--epochs", "x"],
            ["extract", "--batch-size", "0"],
            ["extract", "--fast"],
            ["fly"],
            ["predict", "x"],
        ],
    )
    def test_wrong_usage(self, project, arguments):
        usage(project.attempt(*arguments))


class TestCaches:
    def test_none(self, cli, write):
        refused(cli("train-head"), 2, "no feature cache is named", "clipfuse extract")
        refused(cli("cache", "info"), 2, "no feature cache is named")
        for arguments in (["train-head", "--cache", "nowhere"], ["cache", "info", "nowhere"]):
            refused(cli(*arguments), 1, "nowhere is not a feature cache", "clipfuse extract")
        write("photos.csv", GOOD)
        assert cli("init", "photos.csv").exit_code == 0
        refused(cli("train-head"), 1, "features/photos is not a feature cache", "clipfuse extract")

    def test_several(self, cli, write):
        write("features/a/samples.h5", "")
        write("features/b/samples.h5", "")
        refused(cli("train-head"), 2, "several: features/a, features/b", "--cache")

    def test_damaged(self, copy):
        (shard,) = copy.folder.glob("features/photos/tables/*image*projected*/shard-*.h5")
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
        before = copy.files()
        refused(copy.attempt("train-head", "--fusion", "image"), 1, shard.name, "clipfuse extract")
        assert copy.files() == before
        assert copy.attempt("train-head", "--fusion", "text", "--epochs", "1").exit_code == 0
        refused(copy.attempt("extract"), 1, shard.name, "Delete the file and run clipfuse extract again")
        shard.unlink()
        assert "60 rows in" in copy.run("extract").stderr
        assert copy.attempt("train-head", "--fusion", "image", "--epochs", "1").exit_code == 0

    def test_of_another_encoder(self, project, toy, tmp_path):
        arguments = ("predict", "photos.csv", "-o", tmp_path / "out.csv")
        refused(project.attempt(*arguments, "--cache", toy.cache.root), 1, "holds no mini/", "--encoder mini")
        assert not (tmp_path / "out.csv").exists()

    def test_behind_the_table(self, copy):
        table = copy.folder / "photos.csv"
        table.write_text(table.read_text() + "\nscene-0000.jpg.new,another caption,dog\n")
        arguments = ("predict", "photos.csv", "-o", "out.csv", "--cache", "features/photos")
        refused(copy.attempt(*arguments), 1, "1 of 61 rows are not in features/photos", "clipfuse extract")
        assert not (copy.folder / "out.csv").exists()


class TestRuns:
    @pytest.mark.parametrize("command", [["predict", "photos.csv", "-o", "x.csv"], ["evaluate"]])
    def test_none(self, project, tmp_path, command):
        refused(project.attempt(*command, "--run", "nothing"), 1, "nothing is not a run directory", "clipfuse bench")
        refused(project.attempt(*command, "--runs", tmp_path / "none"), 1, "no complete run", "train-head")
        assert not (project.folder / "x.csv").exists()

    def test_bench_without_runs(self, cli, tmp_path):
        refused(cli("bench"), 1, "there is no complete run in runs", "clipfuse train-head --fusion sum")
        (tmp_path / "runs").mkdir()
        refused(cli("bench", "--json"), 1, "there is no complete run in runs")

    def test_bench_names_what_is_not_complete_or_damaged(self, copy):
        one, other, *_ = sorted((copy.folder / "runs").iterdir())
        (one / "metrics.json").unlink()
        (other / "model" / "model.json").write_text("{}")
        result = copy.run("bench", "--json")
        assert len(json.loads(result.stdout)[0]["runs"]) == 4
        lines = result.stderr.splitlines()
        assert len(lines) == 2 and all(line.startswith("left out: ") for line in lines)
        assert one.name in lines[0] and "not complete" in lines[0] and "model.json" in lines[1]

    def test_runs_cannot_be_written(self, copy):
        shutil.rmtree(copy.folder / "runs")
        (copy.folder / "runs").write_text("a file")
        refused(copy.attempt("train-head", "--epochs", "1"), 1, "can't make a run directory in runs")


class TestOutput:
    @pytest.mark.parametrize("name", ["out.txt", "out", "out.parquet"])
    def test_a_suffix_that_is_none(self, project, name):
        refused(project.attempt("predict", "photos.csv", "-o", name), 1, f"{name} has no suffix of a table", ".csv")

    def test_the_table_itself(self, project):
        before = (project.folder / "photos.csv").read_bytes()
        refused(project.attempt("predict", "photos.csv", "-o", "./photos.csv"), 2, "would be replaced")
        assert (project.folder / "photos.csv").read_bytes() == before

    def test_where_nothing_can_be_written(self, project):
        arguments = ("predict", "photos.csv", "--cache", "features/photos", "-o")
        refused(project.attempt(*arguments, "photos.csv/out.csv"), 1, "can't write photos.csv/out.csv")

    def test_folders_are_made(self, project, tmp_path):
        out = tmp_path / "a" / "b" / "out.csv"
        assert project.attempt("predict", "photos.csv", "--cache", "features/photos", "-o", out).exit_code == 0
        assert out.exists()

    def test_a_cache_that_cannot_be_written(self, project, tmp_path):
        (tmp_path / "file").write_text("")
        result = project.attempt("extract", "--cache", tmp_path / "file")
        assert result.exit_code == 1 and result.stderr.startswith("clipfuse: error: ")


class TestEvaluate:
    def test_a_table_without_labels(self, project, tmp_path):
        (tmp_path / "bare.csv").write_text(NO_LABELS)
        refused(project.attempt("evaluate", tmp_path / "bare.csv"), 1, "bare.csv has no labels", "--label-column")


def test_an_unlabelled_table_can_be_encoded_and_not_trained_on(cli, write):
    write("bare.csv", "id,caption\n1,a dog\n2,a cat\n3,a tree\n")
    assert cli("extract", "bare.csv").exit_code == 0
    refused(cli("train-head", "--fusion", "text"), 2, "unlabelled", "--label-column")


def test_fewer_rows_than_a_split_needs(cli, write):
    write("two.csv", "id,caption,labels\n1,a dog,dog\n2,a cat,cat\n")
    assert cli("extract", "two.csv").exit_code == 0
    refused(cli("train-head", "--fusion", "text"), 2)


def test_very_few_rows(cli, write):
    """Nothing can be learned here, and nothing breaks."""
    rows = "".join(f"{n},a thing of kind {n % 2},{'dog' if n % 2 else ''}\n" for n in range(6))
    write("few.csv", "id,caption,labels\n" + rows)
    assert cli("extract", "few.csv").exit_code == 0
    for arguments in (
        ["--fusion", "text"],
        ["--fusion", "text", "--head", "gmlp"],
        ["--fusion", "text", "--head", "knn"],
    ):
        result = cli("train-head", *arguments)
        assert result.exit_code == 0, result.stderr


def test_only_broken_pictures(cli, write):
    write("photos/a.png", "no picture")
    write("photos/b.png", "")
    write("photos.csv", GOOD)
    result = cli("extract", "photos.csv", "--images", "photos")
    assert result.exit_code == 0
    assert "not usable: 2 pictures" in result.stderr
    assert "photos.csv:2 (a.png): image: " in result.stderr
    assert cli("extract", "photos.csv", "--images", "photos", "--strict").exit_code == 3
