import math

import pytest
import torch

from clipfuse.errors import ConfigError
from clipfuse.losses import LOSSES
from clipfuse.train_config import LossConfig

KINDS = ["bce", "focal", "asymmetric"]


def make(kind, **options):
    return LOSSES.build(LossConfig(kind=kind, **options))


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def cell(kind, z, y):
    """The loss as the papers write it, for a moderate logit."""
    p = sigmoid(z)
    if kind == "bce":
        return -y * math.log(p) - (1 - y) * math.log(1 - p)
    gamma_positive, gamma_negative, clip = (3, 3, 0) if kind == "focal" else (1, 4, 0.05)
    q = max(p - clip, 0)
    return -y * (1 - p) ** gamma_positive * math.log(p) - (1 - y) * q**gamma_negative * math.log(1 - q)


def test_these_are_registered():
    assert list(LOSSES) == KINDS


@pytest.mark.parametrize("kind", KINDS)
class TestEveryLoss:
    def test_is_the_papers_formula_a_cell(self, kind):
        some = [(0.5 * half, target) for half in range(-12, 13) for target in (0.0, 1.0, 0.05, 0.5)]
        logits, targets = torch.tensor(some, dtype=torch.float64).T
        expected = torch.tensor([cell(kind, *pair) for pair in some], dtype=torch.float64)
        torch.testing.assert_close(make(kind)(logits, targets), expected)

    def test_has_the_gradient_of_finite_differences(self, kind):
        generator = torch.Generator().manual_seed(0)
        logits = (6 * torch.randn(3, 7, generator=generator, dtype=torch.float64)).requires_grad_()
        targets = torch.rand(3, 7, generator=generator, dtype=torch.float64).round(decimals=1)
        assert torch.autograd.gradcheck(lambda z: make(kind)(z, targets), (logits,))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_large_logits_give_finite_values_and_gradients(self, kind, dtype):
        logits = torch.tensor([-1e4, -200, -90, -20, 0, 20, 90, 200, 1e4], dtype=dtype)
        for target in (0.0, 0.3, 1.0):
            z = logits.clone().requires_grad_()
            loss = make(kind)(z, torch.full_like(z, target))
            (gradient,) = torch.autograd.grad(loss.sum(), z)
            assert loss.isfinite().all() and gradient.isfinite().all()
            assert (loss >= 0).all()
        wrong = make(kind)(logits[[0, -1]], torch.tensor([1.0, 0.0], dtype=dtype))
        expected = [1e4, 1e4 if kind != "asymmetric" else -(0.95**4) * math.log(0.05)]
        torch.testing.assert_close(wrong, torch.tensor(expected, dtype=dtype))

    def test_not_a_number_stays_one(self, kind):
        z = torch.full((2,), torch.nan)
        assert make(kind)(z, torch.tensor([0.0, 1.0])).isnan().all()

    def test_keeps_the_shape_and_cells_apart(self, kind):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 5, 3, generator=generator)
        targets = torch.rand(2, 5, 3, generator=generator).round()
        together = make(kind)(logits, targets)
        assert together.shape == (2, 5, 3) and together.dtype == torch.float32
        torch.testing.assert_close(together[1, 2:4], make(kind)(logits[1, 2:4], targets[1, 2:4]))


@pytest.mark.parametrize("kind", ["focal", "asymmetric"])
def test_gamma_zero_is_bce(kind):
    z = torch.linspace(-30, 30, 13, dtype=torch.float64)
    y = torch.linspace(0, 1, 13, dtype=torch.float64)
    options = {"clip": 0.0} if kind == "asymmetric" else {}
    found = make(kind, gamma_positive=0, gamma_negative=0, **options)(z, y)
    torch.testing.assert_close(found, make("bce")(z, y))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_asymmetric_is_flat_below_its_clip_whatever_gamma(gamma):
    """A power below 1 has no finite derivative at zero."""
    z = torch.tensor([-1e4, -20.0, 0.0, 3.0], requires_grad=True)
    loss = make("asymmetric", gamma_negative=gamma, clip=0.5)(z, torch.zeros(4))
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    assert loss[:3].tolist() == [0, 0, 0] and gradient[:3].tolist() == [0, 0, 0]
    assert gradient[3].isfinite() and gradient[3] > 0.01


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_focal_has_a_finite_gradient_whatever_gamma(gamma):
    z = torch.tensor([-1e4, -100.0, 100.0, 1e4], requires_grad=True)
    for target in (0.0, 1.0):
        loss = make("focal", gamma_positive=gamma, gamma_negative=gamma)(z, torch.full((4,), target))
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "options"), [("bce", {"clip": 0.1}), ("focal", {"gamma_positive": -1}), ("asymmetric", {"clip": 1.0})]
)
def test_what_can_not_be_set_is_refused(kind, options):
    with pytest.raises(ConfigError, match=f"loss {kind}"):
        make(kind, **options)
