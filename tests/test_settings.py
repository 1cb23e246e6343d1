"""Settings, and how changes are put over them."""

import pytest

from clipfuse.config import ProjectConfig
from clipfuse.errors import ConfigError
from clipfuse.settings import Choice, build_settings, updated
from clipfuse.train_config import HeadConfig, TrainConfig


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


def test_another_kind_drops_what_was_set_of_the_old_one():
    config = TrainConfig.model_validate({"head": {"kind": "mlp", "hidden": [3]}, "fit": {"loss": {"kind": "focal"}}})
    assert updated(config, head={"dropout": 0.1}).head.options == {"hidden": [3], "dropout": 0.1}
    assert updated(config, head={"kind": "mlp"}).head.options == {"hidden": [3]}
    assert updated(config, head={"kind": "gmlp", "blocks": 4}).head == HeadConfig(kind="gmlp", blocks=4)
    assert updated(config, head={"kind": "gmlp", "blocks": None}).head.options == {}
    nested = updated(config, fusion={"combiner": {"kind": "average", "of": "logits"}})
    again = updated(nested, fusion={"combiner": {"kind": "mlp"}})
    assert again.fusion.options == {"combiner": {"kind": "mlp"}}
    assert updated(config, fusion={"kind": None, "combiner": None}) == config


def test_a_choice_keeps_what_only_its_kind_can_check():
    choice = Choice(kind="mlp", hidden=[3], anything="goes")
    assert choice.options == {"hidden": [3], "anything": "goes"}
    with pytest.raises(ConfigError, match=r"here: kind"):
        build_settings(Choice, {}, "here")


def test_settings_inside_of_mappings_are_named():
    with pytest.raises(ConfigError, match=r"here: unknown setting 'parts\.image\.fit\.epoch'.*'epochs'"):
        build_settings(TrainConfig, {"parts": {"image": {"fit": {"epoch": 1}}}}, "here")
