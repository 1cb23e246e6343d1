import pytest
import torch

from clipfuse.scaler import Scaler


def rows(n=50, tokens=2, dim=3):
    return torch.randn(n, tokens, dim, generator=torch.Generator().manual_seed(0)) * 7 + 4


def fitted(values, present=None):
    scaler = Scaler(values.shape[-1])
    scaler.fit(values, torch.ones(len(values)).bool() if present is None else present)
    return scaler


def test_training_rows_get_mean_0_and_deviation_1():
    values = rows()
    scaled = fitted(values)(values, torch.ones(50).bool()).flatten(0, 1)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(3))


def test_rows_without_input_have_no_part_in_it_and_become_zeros():
    values, present = rows(), torch.arange(50) % 3 > 0
    values[~present] = 1e4
    scaler = fitted(values, present)
    torch.testing.assert_close(scaler.mean, values[present].flatten(0, 1).mean(0))
    scaled = scaler(values, present)
    assert not scaled[~present].any()
    assert scaled[present].abs().max() < 10


def test_a_column_that_does_not_vary_is_only_centred():
    values = rows()
    values[:, :, 1] = 0.1
    scaled = fitted(values)(values, torch.ones(50).bool())
    assert scaled[:, :, 1].abs().max() < 1e-6
    assert fitted(values).scale[1] == 1


def test_half_precision_is_summed_exactly():
    values = torch.full((4000, 1, 1), 1000.0).half()
    values[::2] += 8
    scaler = fitted(values)
    assert scaler.mean.item() == pytest.approx(1004)
    assert scaler.scale.item() == pytest.approx(1 / 4)
    assert scaler(values, torch.ones(4000).bool()).dtype == torch.float32


def test_without_any_row_nothing_is_scaled():
    scaler = fitted(rows(), torch.zeros(50).bool())
    assert torch.equal(scaler(rows(), torch.ones(50).bool()), rows())


def test_it_is_part_of_the_saved_model_and_not_trained():
    scaler = fitted(rows())
    assert set(scaler.state_dict()) == {"mean", "scale"}
    assert not list(scaler.parameters())
