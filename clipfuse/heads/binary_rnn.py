"""A recurrent decoder that says yes or no to one label after the other."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.settings import Settings


class BinaryRnnSettings(Settings):
    """What can be set of ``BinaryRnnHead``. ``hidden``: width of the LSTM's state."""

    hidden: int = Field(default=500, ge=1)


@HEADS.register("binary-rnn", BinaryRnnSettings)
class BinaryRnnHead(Head):
    """An LSTM that starts from the first token, takes one step a label, and gives one logit at each.

    The binary decoder of Zanoci and Andress (2017), as the memes report of SemEval-2021 task 6 uses it: h0 = Linear(x),
    c0 and all inputs are zero, and one linear layer reads the state of every step. With inputs of zero an LSTM's input
    weights do nothing and its two biases are one, so only the recurrent layer is kept, and the steps are written out
    (the same numbers as ``nn.LSTM``'s), which ``torch.vmap`` can follow.
    """

    labels_in_order = True  # what it has learned of a label holds in this order only

    def __init__(self, dim: int, labels: int, settings: BinaryRnnSettings) -> None:
        super().__init__()
        self.labels = labels
        self.start = nn.Linear(dim, settings.hidden)
        self.recurrent = nn.Linear(settings.hidden, 4 * settings.hidden)  # input, forget, cell, output: nn.LSTM's order
        self.out = nn.Linear(settings.hidden, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        state = self.start(features[:, 0])
        cell = torch.zeros_like(state)
        states = []
        for _ in range(self.labels):
            enter, forget, new, leave = self.recurrent(state).chunk(4, dim=-1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            state = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(state)
        logits: torch.Tensor = self.out(torch.stack(states, dim=1))[..., 0]
        return logits
