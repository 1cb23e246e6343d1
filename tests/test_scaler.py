import pytest
import torch

from clipfuse.scaler import Moments, Scaler


def rows(n=50, dim=3):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0)) * 7 + 4


def moments(*blocks):
    found = Moments(blocks[0].shape[-1], blocks[0].device)
    for block in blocks:
        found.add(block)
    return found


def fitted(*blocks):
    scaler = Scaler(blocks[0].shape[-1])
    scaler.take(moments(*blocks))
    return scaler


def test_training_rows_get_mean_0_and_deviation_1():
    scaled = fitted(rows())(rows())
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(3))


def test_a_column_that_does_not_vary_is_only_centred():
    values = rows()
    values[:, 1] = 0.1
    assert fitted(values)(values)[:, 1].abs().max() < 1e-6
    assert fitted(values).scale[1] == 1


def test_half_precision_is_summed_exactly():
    values = torch.full((4000, 1), 1000.0).half()
    values[::2] += 8
    scaler = fitted(values)
    assert scaler.mean.item() == pytest.approx(1004)
    assert scaler.scale.item() == pytest.approx(1 / 4)
    assert scaler(values).dtype == torch.float32


def test_blocks_give_what_all_rows_at_once_give():
    values = rows(10_000) * torch.tensor([1.0, 1e4, 1e-4]) + torch.tensor([1e5, 0.0, 3.0])
    scaler = fitted(*torch.split(values, [0, 1, 4095, 5000, 904]))
    torch.testing.assert_close(scaler.mean, values.double().mean(0).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(1 / scaler.scale, values.double().std(0, correction=0).float(), rtol=1e-5, atol=1e-5)


def test_cells_that_are_not_a_number_do_not_count_and_become_zeros():
    values = rows()
    values[::2, 1] = torch.nan
    scaler = fitted(values)
    torch.testing.assert_close(scaler.mean[1], rows()[1::2, 1].mean())
    torch.testing.assert_close(1 / scaler.scale[1], rows()[1::2, 1].std(correction=0))
    assert not scaler(values)[::2, 1].any() and scaler(values).isfinite().all()


def test_what_is_scaled_is_left_as_it_was():
    values = rows()
    fitted(rows())(values)
    assert torch.equal(values, rows())


def test_without_any_row_nothing_is_scaled():
    scaler = fitted(rows(0))
    assert torch.equal(scaler(rows()), rows())


def test_it_is_part_of_the_saved_model_and_not_trained():
    scaler = fitted(rows())
    assert set(scaler.state_dict()) == {"mean", "scale"}
    assert not list(scaler.parameters())
