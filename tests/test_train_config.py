import pytest

from clipfuse.check_config import check_config
from clipfuse.ensembles import with_cycles
from clipfuse.errors import ConfigError
from clipfuse.settings import updated
from clipfuse.train_config import FitConfig, HeadConfig, PartConfig, TrainConfig


def test_a_part_takes_what_it_does_not_set_from_the_run():
    config = TrainConfig.model_validate(
        {"fit": {"learning_rate": 0.01, "epochs": 5}, "parts": {"image": {"fit": {"epochs": 3}}, "text": {}}}
    )
    assert config.fit_of("image") == FitConfig(learning_rate=0.01, epochs=3)
    assert config.fit_of("text") == config.fit_of("concat") == config.fit


def test_a_combiner_learns_what_its_parts_learn_where_it_is_not_told():
    fit = {"loss": {"kind": "focal"}, "oversample": 0.3, "undersample": 0.9, "label_smoothing": 0.1, "ema": 0.9}
    config = TrainConfig.model_validate({"fit": fit, "stacking": {"fit": {"undersample": 0.8}}})
    own = config.combiner_fit
    assert (own.loss.kind, own.oversample, own.undersample, own.label_smoothing) == ("focal", 0.3, 0.8, 0.0)
    assert (own.epochs, own.ema, own.learning_rate) == (12, None, 2e-2)
    assert config.resolved().stacking.fit == own
    assert TrainConfig().resolved().stacking.fit.model_dump() == TrainConfig().stacking.fit.model_dump()


def test_later_changes_of_the_run_reach_its_parts():
    config = TrainConfig.model_validate({"parts": {"image": {"fit": {"epochs": 3}}}})
    changed = updated(config, fit={"learning_rate": 0.5, "loss": {"kind": None}}, seed=None)
    assert changed.fit_of("image") == FitConfig(learning_rate=0.5, epochs=3)


def test_what_is_kept_of_a_run_says_all_settings_of_its_parts():
    config = TrainConfig(fit=FitConfig(learning_rate=0.01), parts={"image": PartConfig(fit=FitConfig(epochs=3))})
    kept = TrainConfig.model_validate(config.resolved().model_dump(mode="json"))
    assert kept.fit_of("image") == config.fit_of("image")
    assert updated(kept, fit={"learning_rate": 0.5}).fit_of("image").learning_rate == 0.01


def test_the_name_of_a_kind_that_is_the_default_drops_nothing():
    config = TrainConfig(head=HeadConfig(hidden=[8]))
    assert updated(config, head={"kind": "mlp", "dropout": None}).head.options == {"hidden": [8]}
    assert updated(config, head={"kind": "linear"}).head.options == {}


@pytest.mark.parametrize("settings", [{"thresholds": "per-label"}, {"calibration": "platt"}])
def test_validation_rows_do_not_both_train_the_combiner_and_choose(settings):
    config = TrainConfig.model_validate({"stacking": {"method": "validation"}, **settings})
    with pytest.raises(ConfigError, match="train the combiner"):
        check_config(config)
    check_config(updated(config, fusion={"kind": "concat"}))


def test_a_part_has_the_epochs_of_the_run_for_snapshots_too():
    config = TrainConfig.model_validate(
        {
            "ensemble": {"kind": "snapshots", "size": 10},
            "fit": {"epochs": 20},
            "parts": {"image": {"fit": {"learning_rate": 0.01}}},
        }
    )
    check_config(config)  # by FitConfig's own 8 epochs, 10 snapshots would be too many
    assert with_cycles(config).fit_of("image") == FitConfig(epochs=20, learning_rate=0.01, cycles=10)
