"""Spaces that come with clipfuse."""

import pytest

from clipfuse.errors import UnknownName
from clipfuse.fusions import fusion_names
from clipfuse.heads import HEADS
from clipfuse.recipes import find_recipe
from clipfuse.train_config import FusionConfig, HeadConfig, TrainConfig
from clipfuse.tune import apply_point, default_space, find_space, shipped_spaces
from clipfuse.tune.samplers import examples
from clipfuse.tune.space import check_points


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fusion", fusion_names())
def test_every_head_and_fusion_has_a_space_of_settings_that_can_be(head, fusion):
    config = TrainConfig(head=HeadConfig(kind=head), fusion=FusionConfig(kind=fusion))
    check_points(examples(default_space(config), seed=1), config, rows=100)


def test_what_is_given_is_not_searched():
    dimensions = default_space(TrainConfig(), without={"fit.epochs"}).stages[0].dimensions
    assert "fit.epochs" not in dimensions
    assert "stacking.fit.epochs" in dimensions  # sum is stacked


def test_a_head_that_no_space_is_known_for():
    with pytest.raises(UnknownName, match="no space is known for head knn"):
        default_space(TrainConfig(head=HeadConfig(kind="knn"), fusion=FusionConfig(kind="concat")))


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_study_starts_from_a_recipe_and_can_be(name):
    study = find_space(name)
    assert study.recipe is not None
    assert study.is_staged()
    assert study.description
    base = apply_point(find_recipe(study.recipe).train, study.fixed, rows=25_000)
    check_points(examples(study, seed=0), base, rows=25_000)


def test_the_s2_study_has_the_tables_of_the_report():
    study = find_space("s2-study")
    assert [len(stage.grid()) for stage in study.stages] == [3, 9, 4, 3, 10]
    base = apply_point(find_recipe("s2-sum").train, study.fixed, rows=25_000)
    tried = [apply_point(base, point, 25_000) for point in study.stages[1].grid()]
    assert {one.fit.batch_size for one in tried} == {"all", 10_000, 5_000}
    assert {one.stacking.fit.learning_rate for one in tried} == {1e-3, 1e-2, 1e-1}
    assert base.head.options["dropout"] == 0.5


def test_an_unknown_space():
    with pytest.raises(UnknownName, match="s2-study"):
        find_space("s2-studie")
