import pytest
import torch

from clipfuse.training.fit import Member, fit
from clipfuse.training.modality_dropout import drop_modalities

ROWS = 20_000


def has(*streams, lacking=()):
    there = {name: torch.ones(ROWS, dtype=torch.bool) for name in streams}
    for name, every in lacking:
        there[name] &= torch.arange(ROWS) % every > 0
    return there


def drop(present, chance=0.4, seed=0):
    return drop_modalities(present, chance, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("streams", [("image", "text"), ("image", "text", "numbers"), ("image", "image-2", "text")])
def test_a_row_loses_one_of_its_modalities_with_that_chance(streams):
    modalities = {name.split("-")[0] for name in streams}
    found = drop(has(*streams))
    lost = {name: ~there for name, there in found.items()}
    any_lost = torch.stack(list(lost.values())).any(0)
    assert any_lost.float().mean() == pytest.approx(0.4, abs=0.02)
    for there in lost.values():
        assert there.float().mean() == pytest.approx(0.4 / len(modalities), abs=0.02)
    if "image-2" in streams:  # a modality goes with all its encoders
        assert torch.equal(lost["image"], lost["image-2"])
    else:
        assert torch.stack(list(lost.values())).sum(0).max() == 1


def test_the_last_modality_is_never_lost():
    present = has("image", "text", "numbers", lacking=(("image", 2), ("text", 3)))
    found = drop(present, chance=0.99)
    before, after = torch.stack(list(present.values())), torch.stack(list(found.values()))
    assert (after <= before).all()
    assert (after.sum(0) == before.sum(0))[before.sum(0) == 1].all()
    assert after.any(0).all()
    assert (before.sum(0) - after.sum(0)).max() == 1
    several = before.sum(0) > 1
    assert ((before.sum(0) - after.sum(0))[several].float().mean()) == pytest.approx(0.99, abs=0.01)


def test_a_row_that_has_nothing_loses_nothing():
    nothing = {name: torch.zeros(ROWS, dtype=torch.bool) for name in ("image", "text")}
    assert not torch.stack(list(drop(nothing).values())).any()


def test_one_modality_or_no_chance_changes_nothing():
    for present, chance in ((has("image", "image-2"), 0.9), (has("image", "text"), 0.0)):
        assert all(torch.equal(there, present[name]) for name, there in drop(present, chance).items())


def test_the_same_draw_for_the_same_seed_and_what_was_given_stays():
    present = has("image", "text")
    one, same, other = drop(present), drop(present), drop(present, seed=1)
    assert torch.equal(one["image"], same["image"]) and not torch.equal(one["image"], other["image"])
    assert all(there.all() for there in present.values())


def test_several_models_draw_for_themselves():
    present = {name: torch.ones(3, 5000, dtype=torch.bool) for name in ("image", "text")}
    found = drop(present)["image"]
    assert found.shape == (3, 5000) and not torch.equal(found[0], found[1])


@pytest.mark.parametrize("fusion", ["image", "concat"])
@pytest.mark.parametrize(("lacking", "chance"), [((), 0.0), (("image",), 0.0), ((), 0.5)])
def test_absent_vectors_learn_exactly_where_rows_lack_an_input_or_lose_it(tools, fusion, lacking, chance):
    """A part that reads one modality only loses it, too, where the row has the other."""
    model = tools.model(fusion=fusion)
    config = tools.config.model_copy(update={"modality_dropout": chance, "weight_decay": 0.0})
    fit([Member("x", model, config, 0, torch.arange(200), None)], tools.rows(lacking=lacking), lambda *_: None)
    vectors = {name: bool(vector.any()) for name, vector in model.inputs.absent.items()}
    assert vectors == {name: name in lacking or chance > 0 for name in model.streams}
