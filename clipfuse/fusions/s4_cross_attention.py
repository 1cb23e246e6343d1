"""The cross-attention of the EfficientNet-b4 and BERT-tiny report."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from clipfuse.fusions.joined import join, streams_of
from clipfuse.fusions.kinds import FUSIONS, MakeHead, Values
from clipfuse.settings import Settings


@FUSIONS.register("s4-cross-attention", Settings)
class S4CrossAttention(nn.Module):
    """Q = Linear(text), K and V = Linear(image); h = LayerNorm(A · V + Q); a head on h + [text ; image].

    All at the width of text and image together; A = softmax(Q · K / sqrt(width)) over the image's tokens. The report
    has one image vector, and a softmax over one key is always 1, whatever the query: there h = LayerNorm(V + Q), and
    K learns nothing. With several image tokens it is an attention. Text (and numbers beside it) is reduced to the mean
    of its tokens, and so is the image beside h.

    Raises:
        ConfigError: there are no image or no text features.
    """

    def __init__(self, dims: Mapping[str, int], labels: int, make_head: MakeHead, settings: Settings) -> None:
        super().__init__()
        streams_of("text", list(dims), "s4-cross-attention")
        self.image = streams_of("image", list(dims), "s4-cross-attention")
        self.text = [name for name in dims if name not in self.image]
        image, text = (sum(dims[name] for name in names) for names in (self.image, self.text))
        self.query = nn.Linear(text, text + image)
        self.key = nn.Linear(image, text + image)
        self.value = nn.Linear(image, text + image)
        self.norm = nn.LayerNorm(text + image)
        self.head = make_head(text + image)

    def forward(self, values: Values, present: Values) -> torch.Tensor:
        """{stream: (batch, tokens, dim)}, {stream: (batch,) bool} -> (batch, labels) logits."""
        text = join([values[name] for name in self.text]).mean(1, keepdim=True)
        image = join([values[name] for name in self.image])
        query = self.query(text)
        attention = (query @ self.key(image).transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
        inner = self.norm(attention @ self.value(image) + query)
        logits: torch.Tensor = self.head(inner + join([text, image.mean(1, keepdim=True)]))
        return logits
