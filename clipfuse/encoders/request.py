"""What was asked for, as every backend's finder reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipfuse.encoders.spec import Precision, Shape, tokens_output
from clipfuse.errors import EncoderError

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class Request:
    """One encoder, asked for by name.

    Attributes:
        name: as typed, for messages and table names.
        target: what stands behind "BACKEND:" in its full name.
        precision: what its forward pass is to compute in.
        tokens: give the last layer in so many groups as well.
        weights: a safetensors file, or a folder that holds the model; None looks into the hub's cache.
        prefix: what the model wants before each caption.
        pooling: default output of a transformers model whose files don't say.
    """

    name: str
    target: str
    precision: Precision = "float32"
    tokens: int | None = None
    weights: Path | None = None
    prefix: str = ""
    pooling: Pooling | None = None

    def tokens_shape(self, dim: int | None, why_not: str = "its last layer has no tokens") -> dict[str, Shape]:
        """The output that ``tokens`` asks for, nothing where it asks for none.

        Raises:
            EncoderError: it is asked for, and ``dim`` is None: the model can't give it.
        """
        if self.tokens is None:
            return {}
        if dim is None:
            raise EncoderError(f"encoder {self.name} can't give tokens: {why_not}", "Leave --tokens out")
        return {tokens_output(self.tokens): Shape(self.tokens, dim)}
