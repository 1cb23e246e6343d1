"""The contracts of heads and fusions notice every broken promise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clipfuse.errors import ConfigError
from clipfuse.fusions import FUSIONS
from clipfuse.heads import HEADS, Head
from clipfuse.settings import Settings
from clipfuse.testing import check_fusion, check_head


@pytest.fixture(autouse=True)
def own_registries(monkeypatch):
    for kinds in (HEADS, FUSIONS):
        monkeypatch.setattr(kinds._makers, "_entries", dict(kinds._makers._entries))
        monkeypatch.setattr(kinds, "_settings", dict(kinds._settings))


class NoSettings(Settings):
    """Nothing can be set."""


def register(change):
    class Changed(Head):
        def __init__(self, dim, labels, settings):
            super().__init__()
            self.linear = nn.Linear(dim, labels)
            self.secret = torch.randn(())

        def forward(self, features):
            return change(self, self.linear(features[:, 0]))

    HEADS.register("changed", NoSettings)(Changed)


def test_heads_that_keep_them():
    check_head("linear")
    check_head("mlp", hidden=(8,))
    with pytest.raises(ConfigError, match="unknown setting"):
        check_head("linear", width=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, logits: logits[:, :1], "logits are"),
        (lambda _, logits: logits.double(), "float64"),
        (lambda _, logits: logits / 0, "not finite"),
        (lambda _, logits: logits.detach().requires_grad_(), "no gradient"),
        (lambda _, logits: logits + torch.rand(1), "other logits"),
        (lambda _, logits: logits - logits.mean(0), "other rows of its batch|finite"),
        (lambda self, logits: logits + self.secret, "state_dict"),
        (lambda _, logits: logits if logits.sum() > 0 else logits + 1, "other rows of its batch|can't run copies"),
    ],
)
def test_heads_that_break_one(change, message):
    register(change)
    with pytest.raises(AssertionError, match=message):
        check_head("changed")


def test_fusions():
    check_fusion("concat")

    @FUSIONS.register("ratio", NoSettings)
    class Ratio(nn.Module):
        def __init__(self, dims, labels, make_head, settings):
            super().__init__()
            self.head = make_head(sum(dims.values()))

        def forward(self, values, present):
            joined = torch.cat([value.mean(1) for value in values.values()], dim=-1)
            return self.head((joined / joined.norm(dim=-1, keepdim=True))[:, None])

    with pytest.raises(AssertionError, match="lack everything"):
        check_fusion("ratio")
