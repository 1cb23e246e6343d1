"""The contract notices every broken promise, and the fake keeps all of them."""

from __future__ import annotations

import pytest
import torch

from clipfuse.testing import FakeFactory, check_encoder, load_encoders


def test_contract_of_the_fake():
    for encoder in load_encoders(FakeFactory(outputs=("projected", "pooled"))):
        check_encoder(encoder)


class Broken:
    """The fake with one promise broken."""

    def __init__(self, modality="text", **changed):
        (self._inner,) = load_encoders(FakeFactory(outputs=("projected", "pooled")), [modality])
        self.__dict__ |= changed

    def __getattr__(self, name):
        return getattr(self._inner, name)


def _swapped(encoder):
    return lambda batch: {name + "x": value for name, value in encoder.encode(batch).items()}


def _noisy(encoder):
    return lambda batch: {name: value + torch.rand(1) for name, value in encoder.encode(batch).items()}


def _changed(change):
    return lambda encoder: lambda batch: {name: change(value) for name, value in encoder.encode(batch).items()}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_swapped, "the spec says"),
        (_noisy, "the same batch gave other features"),
        (_changed(lambda x: x[:, 0]), "shape"),
        (_changed(lambda x: x[..., :-1]), "shape"),
        (_changed(lambda x: x.double()), "dtype"),
        (_changed(lambda x: x.to("meta")), "expected the CPU"),
        (_changed(lambda x: x.clone().requires_grad_()), "gradients"),
        (_changed(lambda x: x / 0), "not finite"),
        (_changed(torch.ones_like), "two items"),
        (_changed(lambda x: x + 1e-3 * x.sum(0, keepdim=True)), "moves by"),
        (_changed(lambda x: x - x.mean(0) if len(x) > 1 else x), "moves by"),  # batch statistics: training mode
    ],
)
def test_the_contract_notices(broken, message):
    encoder = Broken()
    encoder.encode = broken(encoder._inner)
    with pytest.raises(AssertionError, match=message):
        check_encoder(encoder)


def test_the_contract_notices_threads():
    import threading

    owner = threading.get_ident()
    encoder = Broken()
    encoder.prepare = lambda item: encoder._inner.prepare(item)._replace(length=threading.get_ident() - owner)
    with pytest.raises(AssertionError, match="in a thread"):
        check_encoder(encoder)


@pytest.mark.parametrize("field", ["weights", "activation", "precision", "view", "model", "preprocessing"])
def test_the_contract_notices_a_forgotten_field(field):
    from clipfuse.encoders import EncoderSpec
    from clipfuse.testing import check_spec

    class Forgetful(EncoderSpec):
        def fields(self, output, storage):
            return {name: value for name, value in super().fields(output, storage).items() if name != field}

    (spec, _) = FakeFactory().specs
    with pytest.raises(AssertionError, match=f"does not change with {field}"):
        check_spec(Forgetful(**{name: getattr(spec, name) for name in spec.__dataclass_fields__}))
