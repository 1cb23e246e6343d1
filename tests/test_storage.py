"""Weights in fewer bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.storage import SCALE, pack, unpack


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.floats(1e-6, 1e4), st.integers(0, 9))
def test_int8_is_right_to_half_a_step_of_each_row(rows, columns, size, seed):
    value = size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    value[0] = 0
    packed = pack({"w": value}, "int8", [])
    assert packed["w"].dtype == torch.int8 and packed["w" + SCALE].dtype == torch.float32
    found = unpack(packed)["w"]
    step = value.abs().amax(1, keepdim=True) / 127
    assert ((found - value).abs() <= 0.5001 * step + 1e-12).all()
    assert (found[0] == 0).all()


def test_each_row_has_its_own_scale():
    value = torch.tensor([[1.0, -0.5], [1000.0, 500.0]])
    found = unpack(pack({"w": value}, "int8", []))["w"]
    assert torch.allclose(found, value, rtol=0.01)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_what_stays_as_it_is(storage):
    weights = {
        "scalers.image.mean": torch.tensor([1.23456789]),
        "norm.num_batches_tracked": torch.tensor(7),
        "bias": torch.tensor([0.1, -0.2]),
        "huge": torch.tensor([1e6, 1.0]),
        "filters": torch.randn(2, 3, 4),
    }
    packed = pack(weights, storage, ["scalers.image.mean"])
    assert torch.equal(packed["scalers.image.mean"], weights["scalers.image.mean"])
    assert packed["norm.num_batches_tracked"].dtype == torch.int64
    assert packed["bias"].dtype == torch.float16
    found = unpack(packed)
    assert found["norm.num_batches_tracked"] == 7
    assert torch.equal(found["huge"], weights["huge"]), "float16 would make it infinite"
    assert set(found) == set(weights) and found["bias"].dtype == torch.float32
    assert torch.allclose(found["filters"], weights["filters"], atol=0.03)


def test_float32_is_bit_for_bit_and_unknown_storage_is_refused():
    weights = {"w": torch.randn(3, 4)}
    assert torch.equal(unpack(pack(weights, "float32", []))["w"], weights["w"])
    with pytest.raises(ValueError, match="float16"):
        pack(weights, "int4", [])


def test_sizes(tmp_path):
    from safetensors.torch import save

    weights = {"w": torch.randn(64, 256)}
    full, half, small = (len(save(pack(weights, kind, []))) for kind in ("float32", "float16", "int8"))
    assert half < 0.52 * full and small < 0.28 * full
    assert np.isfinite(unpack(pack(weights, "int8", []))["w"].numpy()).all()
