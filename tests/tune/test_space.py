"""Spaces: what may be searched."""

import pytest

from clipfuse.errors import ConfigError
from clipfuse.train_config import FitConfig, TrainConfig
from clipfuse.tune import Options, Range, apply_point, parse_space, read_space
from clipfuse.tune.space import check_points


def space(**values):
    return parse_space("mine", values, "space mine")


def test_a_path_is_a_key_in_quotes_or_a_table():
    quoted = space(**{"head.hidden": [[512], [1024, 256]], "fit.epochs": {"low": 1, "high": 9}, "seed": 3})
    tables = space(head={"hidden": [[512], [1024, 256]]}, fit={"epochs": {"low": 1, "high": 9}}, seed=3)
    assert quoted == tables
    assert quoted.stages[0].dimensions == {"head.hidden": Options(([512], [1024, 256])), "fit.epochs": Range(1, 9)}
    assert quoted.fixed == {"seed": 3}


@pytest.mark.parametrize("log", [False, True])
def test_a_range_keeps_to_its_ends(log):
    whole, broken = Range(1, 300, log), Range(1e-4, 1e-2, log)
    assert (whole.at(0), whole.at(0.999999), type(whole.at(0.4))) == (1, 300, int)
    assert broken.at(0) == 1e-4
    assert broken.at(0.5) == pytest.approx(1e-3 if log else 5.05e-3)
    assert broken.grid() == pytest.approx((1e-4, broken.at(0.5), 1e-2))


def test_options_have_equal_shares():
    options = Options(("a", "b", "c"))
    assert [options.at(share) for share in (0, 0.3, 0.4, 0.65, 0.7, 0.999)] == ["a", "a", "b", "b", "c", "c"]


def test_a_grid_is_the_product_on_every_point():
    found = space(points=[{"seed": 1}, {"fit.epochs": 2}], **{"head.dropout": [0.1, 0.2]}).stages[0].grid()
    assert found == [
        {"seed": 1, "head.dropout": 0.1},
        {"seed": 1, "head.dropout": 0.2},
        {"fit.epochs": 2, "head.dropout": 0.1},
        {"fit.epochs": 2, "head.dropout": 0.2},
    ]


def test_one_value_for_several_paths_and_shares_of_the_rows():
    base = TrainConfig(fit=FitConfig(epochs=7))
    point = {"fit.batch_size, stacking.fit.batch_size": {"rows": 0.4}, "head.hidden": [8], "fit.loss.kind": "focal"}
    found = apply_point(base, point, rows=1000)
    assert (found.fit.batch_size, found.stacking.fit.batch_size) == (400, 400)
    assert (found.fit.epochs, found.fit.loss.kind, found.head.options["hidden"]) == (7, "focal", [8])
    assert apply_point(base, {"fit.batch_size": {"rows": 0.01}}, rows=10).fit.batch_size == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to choose from"),
        ({"fit.epochs": 3}, "nothing to choose from"),
        ({"fit.epochs": []}, "fit.epochs has no values"),
        ({"fit.epochs": {"low": 3, "high": 3}}, "from low to a higher high"),
        ({"fit.epochs": {"low": 3}}, "from low to a higher high"),
        ({"fit.learning_rate": {"low": 0, "high": 1, "log": True}}, "above 0"),
        ({"fit.learning_rate": {"low": 0.1, "high": 1, "lgo": True}}, "unknown key 'lgo'"),
        ({"fit.learning_rate": {"low": 0.1, "high": 1, "steps": 1}}, "a number from 2"),
        ({"fit..epochs": [1, 2]}, "no path"),
        ({"points": [1]}, "list of tables"),
        ({"stages": {}}, "list of tables"),
        ({"stages": [{"fit.epochs": 3}]}, "stage 1 has nothing to choose from"),
        ({"stages": [{"fit.epochs": [3]}], "seed": [1, 2]}, "into one"),
        ({"recipe": 3, "seed": [1, 2]}, "should be strings"),
    ],
)
def test_what_is_wrong_is_said(values, message):
    with pytest.raises(ConfigError, match=message):
        space(**values)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"fit.learning_rat": 1}, "Did you mean 'learning_rate'"),
        ({"fit.epochs": 0}, "epochs is 0"),
        ({"head.hiden": [8]}, "Did you mean 'hidden'"),
        ({"fit.loss.kind": "focl"}, "focal"),
        ({"fit.epochs": 2, "thresholds": "common"}, r"tune can't judge thresholds.*compare its values with train-head"),
        ({"seed, pseudo_labels.rounds": 2}, r"tune can't judge pseudo_labels.rounds"),
    ],
)
def test_settings_that_there_are_not_are_seen_before_training(point, message):
    with pytest.raises(ConfigError, match=message):
        check_points([point], TrainConfig(), rows=100)


def test_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "s2-sum"\nfit.epochs = [1, 2]\n"head.dropout" = { low = 0.1, high = 0.5 }\n')
    found = read_space(path)
    assert (found.name, found.recipe, set(found.stages[0].dimensions)) == (
        "mine",
        "s2-sum",
        {"fit.epochs", "head.dropout"},
    )
    path.write_text("fit.epochs = [")
    with pytest.raises(ConfigError, match=r"mine\.toml can't be read"):
        read_space(path)
