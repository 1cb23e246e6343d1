"""Models that are trained side by side: one, or several of one shape as one batched model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import torch
from torch import nn

from clipfuse.dropout import Dropout

Values = Mapping[str, torch.Tensor]
_PLAIN = (bool, int, float, str, tuple, type(None))
TOGETHER_PARAMETERS = 200_000
"""Models of at most so many parameters are faster together on a processor: what they cost is calls, not arithmetic.
Measured on two cores (perceptrons of 384 to 1664 inputs and 64 to 2048 hidden units, batches of 225, 3 and 8 models,
float32 and bfloat16): smaller ones mostly 1.2 to 2 times as fast as one after the other; from 400,000 parameters mostly
slower, up to four times."""


class Members(Protocol):
    """Models of one shape. Their own parameters are what the optimiser changes."""

    def __call__(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (models, batch, tokens, dim)}, {stream: (models, batch)} -> (models, batch, labels) logits."""
        ...

    def after_backward(self) -> None:
        """Hand the gradients to the models' own parameters."""
        ...


def make_members(models: Sequence[nn.Module]) -> Members:
    """One model as it is; several as one batched model."""
    return Alone(models[0]) if len(models) == 1 else Together(models)


def can_be_together(model: nn.Module) -> bool:
    """Whether every layer of such models can be batched, and whether that is faster than one after the other."""
    if not all(getattr(module, "batchable", True) for module in model.modules()):
        return False
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return next(model.parameters()).is_cuda or parameters <= TOGETHER_PARAMETERS


def architecture(model: nn.Module) -> Hashable:
    """What models must have in common to be batched as one: layers, shapes, what learns, every plain setting of every
    layer. Weights, statistics and the rates of dropout may differ."""
    layers = tuple((name, type(layer), _settings(layer)) for name, layer in model.named_modules())
    shapes = tuple((name, tuple(value.shape)) for name, value in model.state_dict().items())
    return layers, shapes, tuple(parameter.requires_grad for parameter in model.parameters())


def _settings(layer: nn.Module) -> Hashable:
    if isinstance(layer, Dropout):
        return layer.p > 0  # where nothing is dropped nothing is drawn
    plain = {name: value for name, value in vars(layer).items() if name != "training" and not name.startswith("__")}
    return tuple(sorted((name, repr(value)) for name, value in plain.items() if isinstance(value, _PLAIN)))


class Alone:
    """One model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (1, batch, tokens, dim)}, {stream: (1, batch)} -> (1, batch, labels) logits."""
        first = {name: value[0] for name, value in values.items()}
        logits: torch.Tensor = self.model(first, {name: value[0] for name, value in present.items()})
        return logits[None]

    def after_backward(self) -> None:
        """The gradients are where they belong."""


class Together:
    """Several models of one shape, batched by ``torch.vmap``.

    Their parameters and buffers become views of stacked tensors, so that nothing is copied: the batched model computes
    with the stacks (batch norm changes its statistics there), the optimiser changes the views.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = models
        self._stacks: dict[str, torch.Tensor] = {}
        own = [dict(model.named_parameters()) for model in models]
        self._own = own
        for name in own[0]:
            stack = torch.stack([parameters[name].detach() for parameters in own])
            stack.requires_grad_(own[0][name].requires_grad)
            for row, parameters in zip(stack.detach(), own, strict=True):
                parameters[name].data = row
            self._stacks[name] = stack
        self._buffers: dict[str, torch.Tensor] = {}
        buffers = [dict(model.named_buffers()) for model in models]
        for name in buffers[0]:
            self._buffers[name] = torch.stack([found[name] for found in buffers])
            for row, found in zip(self._buffers[name], buffers, strict=True):
                found[name].data = row
        for layers in zip(*(model.modules() for model in models), strict=True):
            for layer in layers:
                if isinstance(layer, Dropout):
                    layer.varies = len({one.p for one in layers}) > 1

    def __call__(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (models, batch, tokens, dim)}, {stream: (models, batch)} -> (models, batch, labels) logits."""

        def one(parameters: Values, buffers: Values, values: Values, present: Values) -> torch.Tensor:
            logits: torch.Tensor = torch.func.functional_call(
                self._models[0], (dict(parameters), dict(buffers)), (values, present)
            )
            return logits

        together = torch.vmap(one, randomness="different")
        logits: torch.Tensor = together(self._stacks, self._buffers, dict(values), dict(present))
        return logits

    def after_backward(self) -> None:
        """Each model's gradients are rows of the stacks' gradients."""
        for name, stack in self._stacks.items():
            if stack.grad is None:
                continue
            for row, parameters in zip(stack.grad, self._own, strict=True):
                parameters[name].grad = row
            stack.grad = None
