import torch

from clipfuse.streams import Streams, modality_of


def streams(rows=6):
    return Streams(
        {"image": torch.arange(rows * 2.0).reshape(rows, 1, 2), "text": torch.arange(rows * 3.0).reshape(rows, 1, 3)},
        {"image": torch.arange(rows) != 1, "text": torch.ones(rows).bool()},
    )


def with_views(rows=2000):
    """Rows whose value says which view they are of; the second encoder of pictures sees the same views."""
    values = {name: torch.zeros(rows, 1, 1) for name in ("image", "image-2", "text", "numbers")}
    views = {
        "image": (torch.ones(rows, 1, 1), 2 * torch.ones(rows, 1, 1)),
        "image-2": (torch.ones(rows, 1, 1), 2 * torch.ones(rows, 1, 1)),
        "text": (torch.ones(rows, 1, 1),),
    }
    return Streams(values, {name: torch.ones(rows).bool() for name in values}, views)


def test_modalities():
    assert [modality_of(name) for name in ("image", "image-2", "text")] == ["image", "image", "text"]


def test_rows_takes_the_same_rows_of_every_stream():
    for index in (torch.tensor([4, 0]), slice(0, 2), torch.tensor([[1, 2], [5, 1]])):
        some = streams().rows(index)
        assert len(some) == 2
        for name in ("image", "text"):
            assert torch.equal(some.values[name], streams().values[name][index])
            assert torch.equal(some.present[name], streams().present[name][index])
    assert streams().rows(torch.tensor([[1, 2, 0], [5, 1, 1]])).values["text"].shape == (2, 3, 1, 3)
    assert len(with_views().rows(slice(0, 5)).views["image"][1]) == 5


def test_only_and_to():
    text = streams().only(["text"]).to("cpu")
    assert list(text.values) == list(text.present) == ["text"]
    assert torch.equal(text.values["text"], streams().values["text"])
    assert list(with_views().only(["text", "numbers"]).views) == ["text"]


def test_masked_rows_lack_all_but_what_is_named():
    found = with_views(4).masked(["image"])
    assert {name: bool(there.all()) for name, there in found.present.items()} == {
        "image": True,
        "image-2": True,
        "text": False,
        "numbers": False,
    }
    assert not streams().masked(["image"]).present["image"][1]


def test_each_row_draws_a_view_of_its_own():
    everything, rows = with_views(), torch.arange(2000)
    found = everything.drawn(rows, torch.Generator().manual_seed(0))
    for name, shares in (("image", [1 / 3] * 3), ("text", [1 / 2] * 2), ("numbers", [1.0])):
        counts = torch.bincount(found.values[name].flatten().long(), minlength=len(shares)) / 2000
        torch.testing.assert_close(counts, torch.tensor(shares), atol=0.05, rtol=0)
    assert torch.equal(found.values["image"], found.values["image-2"])  # one picture, whoever encodes it
    assert not torch.equal(found.values["image"], found.values["text"])
    again = everything.drawn(rows, torch.Generator().manual_seed(0))
    assert torch.equal(again.values["image"], found.values["image"])
    assert all(not value.any() for value in everything.values.values())  # the table itself is as it was


def test_drawn_rows_without_views_are_the_rows():
    index = torch.tensor([[4, 0], [2, 2]])
    found = streams().drawn(index, torch.Generator())
    for name, value in streams().values.items():
        assert torch.equal(found.values[name], value[index])
        assert torch.equal(found.present[name], streams().present[name][index])


def test_another_view_in_place_of_the_inputs():
    first, second = with_views(3).view(1), with_views(3).view(2)
    assert {name: int(value[0]) for name, value in first.values.items()} == {
        "image": 1,
        "image-2": 1,
        "text": 1,
        "numbers": 0,
    }
    assert [int(second.values[name][0]) for name in ("image", "text")] == [2, 0]
