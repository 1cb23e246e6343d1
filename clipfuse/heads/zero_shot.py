"""A head that knows its labels by name: the cosine between a picture and what a CLIP says of each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import field_validator
from torch import nn

from clipfuse.heads.head import Head
from clipfuse.heads.kinds import HEADS
from clipfuse.settings import Settings

SLOT = "{label}"
PROMPTS = (
    "a photo of a {label}",
    "a picture of a {label}",
    "a photo with a {label} in it",
    "a {label}",
    "{label}",
)


class ZeroShotSettings(Settings):
    """What can be set of ``ZeroShotHead``.

    Attributes:
        prompts: what the text side is asked of a label; the mean of all of them counts.
        words: label -> what prompts say of it, where its name is no word.
        learned: what is learned besides one scale and one offset that make cosines logits: none; scale, those of each
            label; all, the labels' vectors, too: a linear layer that starts from the text.
    """

    prompts: tuple[str, ...] = PROMPTS
    words: Mapping[str, str] = {}
    learned: Literal["none", "scale", "all"] = "scale"

    @field_validator("prompts")
    @classmethod
    def _all_name_the_label(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if not prompts or not all(SLOT in prompt for prompt in prompts):
            raise ValueError(f"each prompt must have {SLOT} in it, and there must be one")
        return prompts

    def prompts_of(self, label: str) -> list[str]:
        """What the text side is asked of one label."""
        words = self.words.get(label, label.replace("_", " "))
        return [prompt.replace(SLOT, words) for prompt in self.prompts]


@HEADS.register("zero-shot", ZeroShotSettings)
class ZeroShotHead(Head):
    """logits = scale · cos(first token, label vector) + offset.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 3.1, with a
    sigmoid for each label in place of their softmax. Vectors start at random; training puts in those of the text, and
    scale and offset that fit the training rows (see ``clipfuse.training.zero_shot``).
    """

    reads_unscaled = True  # cosines are of features as the encoder gives them

    def __init__(self, dim: int, labels: int, settings: ZeroShotSettings) -> None:
        super().__init__()
        vectors = torch.randn(labels, dim)
        self.label_vectors: torch.Tensor
        if settings.learned == "all":
            self.label_vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("label_vectors", vectors)
        each = 1 if settings.learned == "none" else labels
        self.scale = nn.Parameter(torch.full((each,), 10.0))
        self.offset = nn.Parameter(torch.zeros(each))

    def cosines(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) cosines of the first token; zeros for a row of zeros."""
        with torch.autocast(features.device.type, enabled=False):  # differences between cosines are small
            rows = nn.functional.normalize(features[:, 0].float(), dim=-1)
            return rows @ nn.functional.normalize(self.label_vectors, dim=-1).T

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim) -> (batch, labels) logits."""
        return self.cosines(features) * self.scale + self.offset
