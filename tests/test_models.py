"""Where settings meet modules."""

import pytest
import torch

from clipfuse.errors import ConfigError, UnknownName
from clipfuse.models import build_model, check_models, count_parameters
from clipfuse.train_config import TrainConfig

DIMS = {"image": 6, "text": 4}


def config(**values):
    return TrainConfig.model_validate(values)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"fusion": {"kind": "image"}, "head": {"kind": "linear"}}, 6 * 3 + 3),
        ({"fusion": {"kind": "concat"}, "head": {"kind": "mlp", "hidden": [5, 7]}}, 11 * 5 + 6 * 7 + 8 * 3),
        ({"fusion": {"kind": "average"}, "head": {"kind": "linear"}}, (6 * 3 + 3) + (4 * 3 + 3) + 2 * 3),
        ({"fusion": {"kind": "mixed", "combiner": {"kind": "max"}}, "head": {"kind": "linear"}}, 21 + 15 + 33),
    ],
)
def test_how_many_numbers(values, count):
    assert count_parameters(build_model(config(**values, absent="zeros"), DIMS, 3, seed=0)) == count


def test_absent_vectors_are_counted():
    with_them = build_model(config(fusion={"kind": "concat"}), DIMS, 3, seed=0)
    without = build_model(config(fusion={"kind": "concat"}, absent="zeros"), DIMS, 3, seed=0)
    assert count_parameters(with_them) == count_parameters(without) + 6 + 4


def test_the_seed_decides_the_weights():
    one, same, other = (build_model(config(), DIMS, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fusion": {"kind": "summ"}}, r"unknown fusion 'summ'"),
        ({"fusion": {"kind": "sum", "parts": ["image", "concta"]}}, r"fusion sum: unknown part 'concta'.*'concat'"),
        ({"parts": {"imgae": {}}}, r"unknown part 'imgae'.*'image'"),
        ({"parts": {"image": {"head": {"kind": "mpl"}}}}, r"unknown head 'mpl'.*'mlp'"),
        ({"parts": {"image": {"head": {"kind": "linear", "hidden": [3]}}}}, r"head linear: unknown setting 'hidden'"),
        ({"parts": {"concat": {"fusion": {"kind": "gated", "widht": 3}}}}, r"fusion gated: unknown setting 'widht'"),
        ({"parts": {"image": {"fit": {"loss": {"kind": "bec"}}}}}, r"unknown loss 'bec'.*'bce'"),
        ({"fit": {"loss": {"kind": "focal", "gamma": 2}}}, r"loss focal: unknown setting 'gamma'.*gamma_positive"),
        ({"stacking": {"fit": {"loss": {"kind": "focla"}}}}, r"unknown loss 'focla'"),
    ],
)
def test_mistakes_are_found_before_anything_is_built(values, message):
    with pytest.raises((UnknownName, ConfigError), match=message):
        check_models(config(**values))


def test_what_is_good_passes():
    check_models(config())
    check_models(config(fusion={"kind": "image"}, parts={"image": {"fit": {"epochs": 3}}}))
