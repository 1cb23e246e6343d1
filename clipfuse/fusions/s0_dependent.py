"""The dependent fusion of the memes report."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import nn

from clipfuse.fusions.joined import join, streams_of
from clipfuse.fusions.kinds import FUSIONS, MakeHead, Values
from clipfuse.settings import Settings


class S0DependentSettings(Settings):
    """What can be set of ``S0DependentFusion``. ``text_width``: of the text beside the image."""

    text_width: int = Field(default=128, ge=1)


@FUSIONS.register("s0-dependent", S0DependentSettings)
class S0DependentFusion(nn.Module):
    """A head on [image ; Linear(text)]: a long image vector beside a short one of the text (and numbers beside it).

    Raises:
        ConfigError: there are no image or no text features.
    """

    def __init__(
        self, dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: S0DependentSettings
    ) -> None:
        super().__init__()
        streams_of("text", list(dims), "s0-dependent")
        self.image = streams_of("image", list(dims), "s0-dependent")
        self.text = [name for name in dims if name not in self.image]
        self.shorten = nn.Linear(sum(dims[name] for name in self.text), settings.text_width)
        self.head = make_head(sum(dims[name] for name in self.image) + settings.text_width)

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        text = self.shorten(join([values[name] for name in self.text]))
        logits: torch.Tensor = self.head(join([*(values[name] for name in self.image), text]))
        return logits
