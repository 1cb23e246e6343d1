"""What stands before every fusion."""

import pytest
import torch

from clipfuse.model_inputs import ModelInputs

DIMS = {"image": 4, "text": 3}


def inputs(absent="learned"):
    made = ModelInputs(DIMS, absent)
    for name, dim in DIMS.items():
        made.scaler(name).mean.copy_(torch.arange(dim) + 1.0)
        made.scaler(name).scale.fill_(2.0)
    return made


def rows(tokens=2):
    values = {
        name: torch.randn(6, tokens, dim, generator=torch.Generator().manual_seed(dim)) for name, dim in DIMS.items()
    }
    return values, {"image": torch.arange(6) % 2 == 0, "text": torch.ones(6).bool()}


@pytest.mark.parametrize("absent", ["learned", "zeros"])
def test_streams_are_standardised_and_absent_ones_replaced(absent):
    made, (values, present) = inputs(absent), rows()
    if absent == "learned":
        torch.nn.init.constant_(made.absent["image"], 5.0)
    values["image"][1] = torch.nan  # whatever is there is not read
    found = made(values, present)
    expected = (values["image"] - torch.arange(4) - 1) * 2
    torch.testing.assert_close(found["image"][::2], expected[::2])
    assert (found["image"][1::2] == (5.0 if absent == "learned" else 0.0)).all()
    torch.testing.assert_close(found["text"], (values["text"] - torch.arange(3) - 1) * 2)


def test_what_is_learned_starts_as_the_training_mean():
    assert all(not vector.any() for vector in inputs().absent.values())
    assert len(list(inputs("zeros").parameters())) == 0


@pytest.mark.parametrize(
    ("dropped", "learns"), [(False, {"image": True, "text": False}), (True, dict.fromkeys(DIMS, True))]
)
def test_vectors_learn_where_training_rows_lack_the_input_or_lose_it(dropped, learns):
    made, (_, present) = inputs(), rows()
    made.learn_absent(present, dropped=dropped)
    assert {name: vector.requires_grad for name, vector in made.absent.items()} == learns


def test_gradients_come_from_absent_rows_only():
    made, (values, present) = inputs(), rows()
    found = made(values, present)
    sum(value.sum() for value in found.values()).backward()
    assert (made.absent["image"].grad == 3 * 2).all()  # three rows, two tokens
    assert not made.absent["text"].grad.any()
