"""clipfuse cache verify, drop, export, import, merge; info of a damaged cache."""

import json
import shutil

import numpy as np
import pytest

from clipfuse_cache import FeatureCache, Shard, Share


@pytest.fixture
def small(tmp_path, build_toy):
    """features/photos of 60 rows with the encoder toy, in the folder that ``cli`` works in."""
    return build_toy(tmp_path / "features" / "photos", rows=60, without={"text": 0.1})


@pytest.fixture
def encoded(tmp_path, project):
    """A copy of a folder in which ``clipfuse extract`` has run."""
    shutil.copytree(project.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    return tmp_path


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shard(folder, table):
    return next((folder / "features/photos/tables").glob(f"{table}-*/shard-000000.h5"))


def test_verify_of_a_whole_cache(cli, small):
    said = cli("cache", "verify")
    assert said.exit_code == 0
    assert said.stdout.startswith("features/photos: 2 shards of 2 tables, ")
    assert "everything is as it was written" in said.stderr
    found = json.loads(cli("cache", "verify", "features/photos", "--json").stdout)
    assert (found["whole"], found["shards"], found["problems"], found["removed"]) == (True, 2, [], [])


def test_verify_lists_what_is_not_ours_and_is_content(cli, small):
    folder = small.cache.tables()[0].folder
    (folder / "notes.txt").write_text("mine")
    said = cli("cache", "verify")
    assert said.exit_code == 0
    assert f"not ours: tables/{folder.name}/notes.txt; delete them by hand if you like" in said.stderr
    assert json.loads(cli("cache", "verify", "--json").stdout)["foreign"] == [f"tables/{folder.name}/notes.txt"]
    shutil.copy(folder / "shard-000000.h5", folder / "shard-000009.h5")
    said = cli("cache", "verify")
    assert said.exit_code == 1
    assert f"extra: tables/{folder.name}/shard-000009.h5" in said.stdout and "delete them by hand)" in said.stderr


def test_rotten_bytes_are_found_removed_and_made_again(cli, encoded):
    """A flipped bit does not change a file's size, which is all that extract looks at before it says: nothing to do."""
    before = {path: path.read_bytes() for path in encoded.glob("features/photos/tables/*/*")}
    picture, text = shard(encoded, "mini-image-projected"), shard(encoded, "mini-text-projected")
    flip(picture)
    text.unlink()
    names = [path.relative_to(encoded / "features/photos").as_posix() for path in (picture, text)]
    for arguments, words in (
        ([], "cache verify --remove-damaged deletes what is damaged, and clipfuse extract makes it again"),
        (["--remove-damaged"], f"deleted: {names[0]}\nnext: run clipfuse extract again"),
    ):
        said = cli("cache", "verify", *arguments)
        assert said.exit_code == 1
        assert said.stdout.splitlines()[0].startswith(f"damaged: {names[0]}: not the file that was written")
        assert said.stdout.splitlines()[1].startswith(f"missing: {names[1]}: ")
        assert words in said.stderr
    found = cli("cache", "verify", "--json")
    assert found.exit_code == 1
    assert [problem["kind"] for problem in json.loads(found.stdout)["problems"]] == ["missing", "missing"]
    assert cli("extract").exit_code == 0
    assert cli("cache", "verify").exit_code == 0
    again = {path.name.replace("1", "0"): path.read_bytes() for path in picture.parent.glob("shard-*.h5")}
    assert len(again) == 1
    info = json.loads(cli("cache", "info", "--json").stdout)
    assert {table["state"] for table in info["tables"]} == {"complete"}
    assert len(before) == len(list(encoded.glob("features/photos/tables/*/*")))


def test_info_of_damaged_tables_shows_the_others(cli, small):
    image, text = (table.folder for table in small.cache.tables())
    flip(image / "shard-000000.h5")
    said = cli("cache", "info")
    assert said.exit_code == 0
    assert "damaged: run clipfuse cache verify" in said.stdout and "toy/text/pooled" in said.stdout
    (text / "manifest.json").write_text("{")
    said = cli("cache", "info")
    assert said.stdout.count("damaged: run clipfuse cache verify") == 2
    assert text.name in said.stdout


def test_info_shows_widths_and_what_made_the_tables(cli, encoded):
    from clipfuse.machine import library_versions

    made = f"made on cpu with clipfuse {library_versions()['clipfuse']}, torch {library_versions()['torch']}, "
    said = cli("cache", "info").stdout.splitlines()
    assert [line[: len(made)] for line in said if "made on" in line] == [made] and "h5py" in "".join(said)
    assert not any("not installed" in line for line in said)
    samples = FeatureCache(encoded / "features/photos").samples()
    np.save(encoded / "features.npy", np.ones((len(samples), 4, 960), "float32"))
    (encoded / "ids.txt").write_text("\n".join(samples.ids))
    assert cli("cache", "import", "features.npy", "--ids", "ids.txt", "--name", "mine").exit_code == 0
    said = cli("cache", "info").stdout.splitlines()
    assert any(line.startswith("mine/image/imported") and "4 × 960" in line for line in said)
    assert "mine/image/imported: imported from features.npy" in said
    assert sum(f": {made}" in line for line in said) == 1


@pytest.mark.parametrize("called", ["name", "fingerprint", "folder"])
def test_drop_by_any_of_its_names(cli, small, called):
    table = small.cache.tables()[0]
    names = {
        "name": table.description.name,
        "fingerprint": table.description.fingerprint[:8],
        "folder": table.folder.name,
    }
    size = sum(path.stat().st_size for path in table.folder.iterdir())
    said = cli("cache", "drop", names[called])
    assert said.exit_code == 0
    assert said.stderr == f"features/photos/tables/{table.folder.name} deleted, {size / 1e6:,.1f} MB freed\n"
    assert [left.description.modality for left in small.cache.tables()] == ["text"]


def test_drop_of_what_is_not_there_or_not_one(cli, small, add_features):
    add_features(small.cache, small.samples, "image", np.ones((60, 3)), storage="float32")
    for name, words in (
        ("toy/image/pool", "holds no feature table 'toy/image/pool'. Did you mean 'toy/image/pooled'?"),
        ("toy/image/pooled", "'toy/image/pooled' is several tables: toy/image/pooled "),
        (small.cache.tables()[0].description.fingerprint[:3], "holds no feature table"),
        ("..", "holds no feature table '..'"),
    ):
        said = cli("cache", "drop", name)
        assert said.exit_code == 2 and words in said.stderr
    prints = [table.description.fingerprint[:12] for table in small.cache.tables()[:2]]
    assert all(one in cli("cache", "drop", "toy/image/pooled").stderr for one in prints)
    assert len(small.cache.tables()) == 3
    assert cli("cache", "drop", prints[0]).exit_code == 0
    assert cli("cache", "drop", "toy/image/pooled").exit_code == 0
    assert cli("cache", "drop", "toy/text/pooled").exit_code == 0
    said = cli("cache", "drop", "toy/text/pooled")
    assert said.exit_code == 1 and "holds no feature table. Run clipfuse extract" in said.stderr


def test_damaged_and_unfinished_tables_can_be_dropped(cli, small):
    image, text = (table.folder for table in small.cache.tables())
    (image / "manifest.json").write_text("{")
    assert cli("cache", "drop", image.name).exit_code == 0
    (text / "manifest.json").unlink()
    about = small.with_samples(captions=("new", *small.samples.captions[1:]))
    assert f"Known: {text.name}" in cli("cache", "drop", "nothing like it").stderr
    assert cli("cache", "drop", text.name).exit_code == 0
    assert about.cache.tables() == []


def test_export_and_import_and_a_head_on_it(cli, tmp_path, small):
    said = cli("cache", "export", "toy/image/pooled", "-o", "out.npz")
    assert said.exit_code == 0 and said.stdout == ""
    assert "60 rows of toy/image/pooled in out.npz" in said.stderr
    said = cli("cache", "export", "toy/image/pooled", "-o", "out.npz")
    assert said.exit_code == 1 and "out.npz exists. Name another file, or replace it with --force" in said.stderr
    assert cli("cache", "export", "toy/image/pooled", "-o", "out.npz", "--force").exit_code == 0
    with np.load(tmp_path / "out.npz") as file:
        np.save(tmp_path / "features.npy", file["features"][:55])
        (tmp_path / "ids.txt").write_text("\n".join(file["ids"][:55]))
    arguments = ("cache", "import", "features.npy", "--ids", "ids.txt", "--name", "mine")
    said = cli(*arguments)
    assert said.exit_code == 0, said.stderr
    assert "mine/image/imported: 55 rows of width 10" in said.stderr
    assert "5 samples are not in features.npy: their features are masked" in said.stderr
    assert "next: clipfuse train-head --fusion image --image-encoder mine" in said.stderr
    quick = ("--hidden", "16", "--epochs", "2")
    several = cli("train-head", "--fusion", "image", *quick)
    assert several.exit_code == 2 and "several image encoders: mine, toy" in several.stderr
    said = cli("train-head", "--fusion", "image", "--image-encoder", "mine", *quick)
    assert said.exit_code == 0, said.stderr
    tables = json.loads(cli("cache", "info", "--json").stdout)["tables"]
    assert [(table["name"], table["valid"], table["failed"], table["state"]) for table in tables] == [
        ("mine/image/imported", 55, 5, "complete"),
        ("toy/image/pooled", 60, 0, "complete"),
        ("toy/text/pooled", 60 - sum(text is None for text in small.samples.captions), 0, "complete"),
    ]
    np.save(tmp_path / "features.npy", np.load(tmp_path / "features.npy") * 2)
    fingerprint = tables[0]["fingerprint"][:12]
    assert (
        f"another mine/image/imported with other numbers; clipfuse cache drop {fingerprint}" in cli(*arguments).stderr
    )


def test_the_command_after_an_import_can_be_pasted(cli, tmp_path, small):
    np.save(tmp_path / "features.npy", np.ones((60, 2)))
    (tmp_path / "ids.txt").write_text("\n".join(small.ids))
    said = cli("cache", "import", "features.npy", "--ids", "ids.txt", "--name", "my features")
    assert "--image-encoder 'my features'" in said.stderr


def test_help_of_train_head_names_all_outputs():
    from typer.main import get_command

    from clipfuse_cli.main import app

    help_of = {option.name: option.help for option in get_command(app).commands["train-head"].params}
    for name in ("image_output", "text_output"):
        assert help_of[name].endswith("tokens-K of extract --tokens K; imported of cache import.")


def test_import_of_what_does_not_fit_is_one_line(cli, tmp_path, small):
    np.save(tmp_path / "features.npy", np.zeros((3, 2)))
    (tmp_path / "ids.txt").write_text("row-000\nrow-001\nwho\n")
    for arguments, words in (
        (["--ids", "ids.txt"], "the first is 'who'"),
        ([], "Name a file of one id a line with --ids"),
        (["--ids", "none.txt"], "can't read none.txt"),
    ):
        said = cli("cache", "import", "features.npy", "--name", "mine", *arguments)
        assert said.exit_code == 1 and words in said.stderr
        assert said.stderr.count("\n") == 1


def test_merge_after_the_last_worker(cli, small):
    about = small.cache.tables()[0].description
    shutil.rmtree(small.cache.tables()[0].folder)
    digests = small.samples.input_digests("image")

    def work(share):
        writer = small.cache.writer(about, small.ids, digests, shard_rows=20, batch_size=20)
        writer.begin()
        for index in writer.missing(share):
            rows = writer.rows_of(index)
            inputs = np.frombuffer(b"".join(digests[row] for row in rows), np.uint8).reshape(-1, 16)
            values = np.ones((20, 1, 10), about.dtype)
            writer.write(index, Shard(tuple(small.ids[row] for row in rows), inputs, values, np.ones(20, bool)))

    work(Share(1, 2))
    said = cli("cache", "merge")
    assert said.exit_code == 1
    assert "lacks 2 of 3 shards (shard-000000.h5, shard-000002.h5)" in said.stderr and "clipfuse extract" in said.stderr
    work(Share(0, 2))
    said = cli("cache", "merge")
    assert (said.exit_code, said.stdout) == (0, "toy/image/pooled: complete, 60 rows, 3 shards\n")
    said = cli("cache", "merge", "features/photos")
    assert (said.exit_code, said.stdout) == (0, "")
    assert "nothing to do" in said.stderr


@pytest.mark.parametrize("command", ["info", "verify", "merge", "export", "import", "drop"])
def test_help_has_an_example(cli, command):
    said = cli("cache", command, "--help")
    assert said.exit_code == 0 and f"Example: clipfuse cache {command}" in said.stdout


@pytest.mark.parametrize("arguments", [["verify"], ["merge"], ["export", "a", "-o", "x.h5"], ["drop", "a"]], ids=str)
def test_no_cache(cli, arguments):
    where = ["nowhere"] if arguments[0] in ("verify", "merge") else ["--cache", "nowhere"]
    said = cli("cache", *arguments, *where)
    assert said.exit_code == 1 and "nowhere" in said.stderr and "clipfuse extract" in said.stderr
