"""clipfuse.toml."""

from pathlib import Path

import pytest

from clipfuse.config import ProjectConfig, TableConfig, TrainConfig
from clipfuse.errors import ConfigError
from clipfuse.project import build_settings, load_project, save_project, updated


def write(folder, text):
    (folder / "clipfuse.toml").write_text(text, encoding="utf-8")
    return folder


def test_without_a_file_there_are_the_defaults(tmp_path):
    assert load_project(tmp_path) == ProjectConfig()


def test_round_trip(tmp_path):
    config = updated(
        ProjectConfig(),
        data={"table": Path("fotos/größe.csv"), "images": Path("fotos"), "label_columns": ("a", "b"), "separator": "|"},
        train={"fusion": {"kind": "mixed", "stacking": "joint"}, "head": {"hidden": (64, 32)}, "seed": 3},
        split={"test": 0.3},
        cache=Path("features/x"),
    )
    path = save_project(tmp_path, config)
    assert load_project(tmp_path) == config
    text = path.read_text(encoding="utf-8")
    assert "größe" in text and "learning_rate" not in text and "epochs" not in text


def test_the_file_says_only_what_differs_from_the_defaults(tmp_path):
    save_project(tmp_path, ProjectConfig(data=TableConfig(table=Path("a.csv"))))
    assert (tmp_path / "clipfuse.toml").read_text() == '[data]\ntable = "a.csv"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train.fusion]\nkindd = 'sum'", r"unknown setting 'train\.fusion\.kindd'\. Did you mean 'kind'\?"),
        ("[trian]\nseed = 1", r"unknown setting 'trian'\. Did you mean 'train'\?"),
        ("[data]\ntable = 'a'\nimage = 'b'", r"unknown setting 'data\.image'\. Did you mean 'images'\?"),
        ("[train.fit]\nzzz = 1", r"unknown setting 'train\.fit\.zzz'\. Known: .*learning_rate"),
        ("[train.fit]\nepochs = 0", r"train\.fit\.epochs is 0: .*greater than or equal to 1"),
        ("[train.fit]\nlearning_rate = 'fast'", r"train\.fit\.learning_rate is 'fast': .*number"),
        ("[train.fit]\nlearning_rate = inf", r"train\.fit\.learning_rate is inf"),
        ("[train.fit]\nlearning_rate = nan", r"train\.fit\.learning_rate is nan"),
        ("[train.head]\nhidden = [64, -1]", r"train\.head\.hidden\.1 is -1: .*greater than 0"),
        ("[train.head]\ndropout = 1.0", r"train\.head\.dropout is 1\.0"),
        ("[train]\nseed = -1", r"train\.seed is -1"),
        (
            "[train.fusion]\nstacking = 'oof'",
            r"train\.fusion\.stacking is 'oof': .*'out-of-fold', 'joint' or 'in-sample'",
        ),
        ("[split]\ntest = 1.5", r"split\.test is 1\.5"),
        ("[data]\nimages = 'a'", r"data\.table .*required"),
        ("data = 3", r"data is 3"),
        ("[train", r"can't be read .*clipfuse init"),
    ],
)
def test_mistakes_name_the_place_and_what_was_expected(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"clipfuse\.toml.*{message}"):
        load_project(write(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "clipfuse.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"clipfuse\.toml can't be read"):
        load_project(tmp_path)


def test_a_folder_of_that_name(tmp_path):
    (tmp_path / "clipfuse.toml").mkdir()
    with pytest.raises(ConfigError, match=r"clipfuse\.toml can't be read"):
        load_project(tmp_path)


def test_changes_that_are_none_change_nothing():
    config = updated(ProjectConfig(), train={"fit": {"epochs": 3}}, device="cpu")
    assert updated(config, device=None, train={"fit": {"epochs": None}, "seed": None}, data=None) == config
    assert updated(config, data={"table": None, "images": None}) == config
    again = updated(config, train={"fit": {"learning_rate": 0.5}})
    assert (again.train.fit.epochs, again.train.fit.learning_rate) == (3, 0.5)


def test_changes_are_checked():
    with pytest.raises(ConfigError, match=r"options: train\.fit\.epochs is 0"):
        updated(ProjectConfig(), train={"fit": {"epochs": 0}})
    with pytest.raises(ConfigError, match=r"options: thresholds is 'all'"):
        updated(TrainConfig(), thresholds="all")


def test_settings_are_frozen():
    with pytest.raises(Exception, match=r"frozen"):
        ProjectConfig().device = "cuda"


def test_build_settings_names_where():
    with pytest.raises(ConfigError, match=r"here: unknown setting 'sed'"):
        build_settings(TrainConfig, {"sed": 1}, "here")
