import torch

from clipfuse.streams import Streams, fit_scalers, scale


def streams(rows=6):
    return Streams(
        {"image": torch.arange(rows * 2.0).reshape(rows, 1, 2), "text": torch.arange(rows * 3.0).reshape(rows, 1, 3)},
        {"image": torch.arange(rows) != 1, "text": torch.ones(rows).bool()},
    )


def test_rows_takes_the_same_rows_of_every_stream():
    for index in (torch.tensor([4, 0]), slice(0, 2)):
        some = streams().rows(index)
        assert len(some) == 2
        for name in ("image", "text"):
            assert torch.equal(some.values[name], streams().values[name][index])
            assert torch.equal(some.present[name], streams().present[name][index])


def test_only_and_to():
    text = streams().only(["text"]).to("cpu")
    assert list(text.values) == list(text.present) == ["text"]
    assert torch.equal(text.values["text"], streams().values["text"])


def test_joined_has_the_first_tokens_side_by_side():
    found = Streams(
        {"image": torch.randn(4, 3, 2), "text": torch.randn(4, 3, 5)},
        {"image": torch.ones(4).bool(), "text": torch.ones(4).bool()},
    )
    assert torch.equal(found.joined(), torch.cat([found.values["image"][:, 0], found.values["text"][:, 0]], 1))


def test_scalers_are_fitted_on_the_given_rows_only():
    some = torch.tensor([0, 1, 2])
    before = fit_scalers(streams(), some)
    changed = streams()
    for value in changed.values.values():
        value[3:] = 1e6
    after = fit_scalers(changed, some)
    for name in ("image", "text"):
        assert torch.equal(before[name].mean, after[name].mean)
        assert torch.equal(before[name].scale, after[name].scale)
    # row 1 has no picture: only 0 and 2 count
    torch.testing.assert_close(before["image"].mean, torch.tensor([2.0, 3.0]))


def test_scale_leaves_what_is_absent_at_zero():
    found = scale(streams(), fit_scalers(streams(), torch.arange(6)))
    assert not found.values["image"][1].any()
    assert found.present is streams().present or torch.equal(found.present["image"], streams().present["image"])
    assert found.values["text"].dtype == torch.float32
