"""What every head and every fusion must do, tried out on one that is registered."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state

from clipfuse.fusions.kinds import FUSIONS
from clipfuse.heads import HEADS, Head
from clipfuse.settings import Choice

_ROWS, _LABELS, _DIM = 12, 3, 10
_DIMS = {"image": 10, "image-2": 4, "text": 6, "numbers": 3}
_TOKENS: tuple[Mapping[str, int], ...] = (
    dict.fromkeys(_DIMS, 1),
    {"image": 3, "image-2": 3, "text": 2, "numbers": 1},
)

Inputs = tuple[Any, ...]


def check_head(kind: str, **settings: Any) -> None:
    """What every head promises, see :class:`clipfuse.heads.Head`.

    Args:
        kind: the name that it is registered by.
        settings: of it; small ones make the check quick.

    Raises:
        UnknownName, ConfigError: no such head, or settings that it does not have.
        AssertionError: a promise is broken; the message says which.
    """
    choice = Choice(kind=kind, **settings)

    def make(labels: int, seed: int) -> Head:
        torch.manual_seed(seed)
        return HEADS.build(choice, _DIM, labels)

    for tokens in (1, 3):

        def inputs(seed: int, tokens: int = tokens) -> Inputs:
            return (torch.randn(_ROWS, tokens, _DIM, generator=torch.Generator().manual_seed(seed)),)

        _check_model(make, inputs)
    bias = make(_LABELS, 0).label_bias
    _demand(bias is None or bias.shape == (_LABELS,), "label_bias should be None or one number a label")


def check_fusion(kind: str, **settings: Any) -> None:
    """What every fusion that is one module promises (see ``clipfuse.fusions.kinds``); its head is one linear layer.

    Args:
        kind: the name that it is registered by.
        settings: of it; small ones make the check quick.

    Raises:
        UnknownName, ConfigError: no such fusion, or settings that it does not have.
        AssertionError: a promise is broken; the message says which.
    """
    choice = Choice(kind=kind, **settings)

    def make(labels: int, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return FUSIONS.build(choice, _DIMS, labels, lambda dim: HEADS.build(Choice(kind="linear"), dim, labels))

    for tokens in _TOKENS:

        def inputs(seed: int, tokens: Mapping[str, int] = tokens) -> Inputs:
            generator = torch.Generator().manual_seed(seed)
            values = {name: torch.randn(_ROWS, tokens[name], dim, generator=generator) for name, dim in _DIMS.items()}
            present = {name: torch.rand(_ROWS, generator=generator) > 0.3 for name in _DIMS}
            return values, present

        _check_model(make, inputs)
    values, present = inputs(0)
    nothing = {name: torch.zeros_like(there) for name, there in present.items()}
    empty = {name: torch.zeros_like(value) for name, value in values.items()}
    _demand(bool(make(_LABELS, 0)(empty, nothing).isfinite().all()), "rows that lack everything have no finite logits")


def _check_model(make: Callable[[int, int], nn.Module], inputs: Callable[[int], Inputs]) -> None:
    for labels in (1, _LABELS):
        logits = make(labels, 0)(*inputs(0))
        _demand(logits.shape == (_ROWS, labels), f"logits are {tuple(logits.shape)}, expected {(_ROWS, labels)}")
        _demand(logits.dtype == torch.float32, f"logits are {logits.dtype}, expected float32")
        _demand(bool(logits.isfinite().all()), "logits are not finite")
    model, given = make(_LABELS, 0), inputs(0)
    model(*given).square().sum().backward()
    finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    _demand(finite, "gradients are not finite")
    _demand(any(p.grad is not None and bool(p.grad.any()) for p in model.parameters()), "no gradient reaches it")
    model = make(_LABELS, 0).eval()
    together = model(*given)
    _demand(torch.equal(together, model(*given)), "in evaluation mode the same rows give other logits")
    alone = torch.cat([model(*_rows(given, slice(row, row + 1))) for row in range(_ROWS)])
    _demand(torch.allclose(alone, together, atol=1e-5), "a row's logits depend on the other rows of its batch")
    other = make(_LABELS, 1).eval()
    other.load_state_dict(model.state_dict())
    _demand(torch.equal(other(*given), together), "its state_dict does not hold all of it")
    _check_stacked([make(_LABELS, seed).eval() for seed in range(2)], [inputs(seed) for seed in range(2)])


def _check_stacked(models: list[nn.Module], given: list[Inputs]) -> None:
    """Models of one shape are trained as one batched model."""
    template, (parameters, buffers) = copy.deepcopy(models[0]), stack_module_state(models)
    stacked = tuple(_stack(parts) for parts in zip(*given, strict=True))

    def call(p: Any, b: Any, *x: Any) -> Any:
        return functional_call(template, (p, b), x)

    try:
        found = torch.vmap(call, randomness="different")(parameters, buffers, *stacked)
    except RuntimeError as error:
        raise AssertionError(f"torch.vmap can't run copies of it as one: {error}") from error
    alone = torch.stack([model(*one) for model, one in zip(models, given, strict=True)])
    _demand(torch.allclose(found, alone, atol=1e-5), "copies that run as one (torch.vmap) give other logits")


def _rows(given: Inputs, some: slice) -> Inputs:
    return tuple({k: v[some] for k, v in one.items()} if isinstance(one, dict) else one[some] for one in given)


def _stack(parts: tuple[Any, ...]) -> Any:
    if isinstance(parts[0], dict):
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    return torch.stack(parts)


def _demand(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise AssertionError(otherwise)
