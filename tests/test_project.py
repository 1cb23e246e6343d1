"""clipfuse.toml."""

from pathlib import Path

import pytest

from clipfuse.config import ProjectConfig, TableConfig
from clipfuse.errors import ConfigError
from clipfuse.project import load_project, save_project
from clipfuse.settings import updated


def write(folder, text):
    (folder / "clipfuse.toml").write_text(text, encoding="utf-8")
    return folder


def test_without_a_file_there_are_the_defaults(tmp_path):
    assert load_project(tmp_path) == ProjectConfig()


def test_round_trip(tmp_path):
    config = updated(
        ProjectConfig(),
        data={"table": Path("fotos/größe.csv"), "images": Path("fotos"), "label_columns": ("a", "b"), "separator": "|"},
        train={
            "fusion": {"kind": "mixed", "combiner": {"kind": "mlp", "hidden": [9]}},
            "stacking": {"method": "joint", "fit": {"batch_size": "all"}},
            "head": {"hidden": [64, 32]},
            "parts": {"image": {"head": {"kind": "linear"}, "fit": {"loss": {"kind": "focal", "gamma_positive": 2.0}}}},
            "image": {"encoder": "mini"},
            "text": {"encoder": ["mini", "minilm"]},
            "seed": 3,
        },
        split={"test": 0.3},
        cache=Path("features/x"),
    )
    path = save_project(tmp_path, config)
    assert load_project(tmp_path) == config
    text = path.read_text(encoding="utf-8")
    assert "größe" in text and "learning_rate" not in text and "epochs" not in text


def test_what_a_file_sets_of_the_combiner_leaves_its_other_defaults(tmp_path):
    found = load_project(write(tmp_path, "[train.stacking.fit]\nbatch_size = 64")).train.stacking
    assert (found.fit.batch_size, found.fit.learning_rate, found.fit.epochs) == (64, 2e-2, 12)


def test_the_file_says_only_what_differs_from_the_defaults(tmp_path):
    save_project(tmp_path, ProjectConfig(data=TableConfig(table=Path("a.csv"))))
    assert (tmp_path / "clipfuse.toml").read_text() == '[data]\ntable = "a.csv"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]\nseed = 1", r"unknown setting 'trian'\. Did you mean 'train'\?"),
        ("[data]\ntable = 'a'\nimage = 'b'", r"unknown setting 'data\.image'\. Did you mean 'images'\?"),
        ("[train.fit]\nzzz = 1", r"unknown setting 'train\.fit\.zzz'\. Known: .*learning_rate"),
        ("[train.fit]\nepochs = 0", r"train\.fit\.epochs is 0: .*greater than or equal to 1"),
        ("[train.fit]\nlearning_rate = 'fast'", r"train\.fit\.learning_rate is 'fast': .*number"),
        ("[train.fit]\nlearning_rate = inf", r"train\.fit\.learning_rate is inf"),
        ("[train.fit]\nlearning_rate = nan", r"train\.fit\.learning_rate is nan"),
        ("[train.stacking]\nfold = 3", r"unknown setting 'train\.stacking\.fold'\. Did you mean 'folds'\?"),
        ("[train.parts.image]\nhaed = 3", r"unknown setting 'train\.parts\.image\.haed'\. Did you mean 'head'\?"),
        ("[train.parts.image.fit]\nepoch = 3", r"unknown setting '.*\.epoch'\. Did you mean 'epochs'\?"),
        ("[train.fit]\nloss = 'focal'", r"train\.fit\.loss is 'focal': .*dictionary"),
        (
            "[train.fit]\noversample = 0.5\nundersample = 0.1",
            r"undersample is 0\.1: .*not be below oversample \(0\.5\)",
        ),
        ("[train]\nmodalities = ['sound']", r"modalities\.0 is 'sound'"),
        ("[train]\nseed = -1", r"train\.seed is -1"),
        (
            "[train.stacking]\nmethod = 'oof'",
            r"train\.stacking\.method is 'oof': .*'out-of-fold', 'validation', 'in-sample' or 'joint'",
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
