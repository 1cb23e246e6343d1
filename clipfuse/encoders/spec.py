"""What an encoder is, apart from its weights in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from clipfuse.errors import EncoderError
from clipfuse_cache.fingerprint import fingerprint
from clipfuse_cache.manifest import IDENTITY, TableDescription

if TYPE_CHECKING:
    import torch

Modality = Literal["image", "text"]
Precision = Literal["float32", "bfloat16", "float16"]
Storage = Literal["float16", "float32"]


class Shape(NamedTuple):
    """One row of an output: (tokens, dim)."""

    tokens: int
    dim: int


_TOKENS = "tokens-"


def tokens_output(tokens: int) -> str:
    """Name of the output that holds the last layer in ``tokens`` groups."""
    return f"{_TOKENS}{tokens}"


def tokens_of(output: str) -> int | None:
    """The number in a name that :func:`tokens_output` made; None for any other output."""
    number = output.removeprefix(_TOKENS)
    return int(number) if number != output and number.isdecimal() else None


@dataclass(frozen=True, eq=False)
class EncoderSpec:
    """Everything that changes a number of one encoder's features, known before its weights load.

    Attributes:
        name: what the user typed; not part of the fingerprint, because it changes no number.
        modality: what it reads.
        backend: the library that runs it: "open_clip", "timm", "transformers", "torchvision".
        model: the architecture, with every setting that shapes it.
        weights: SHA-256 (hex) of the weights' file.
        weights_bytes: its size in bytes; not part of the fingerprint.
        activation: the activation function ("gelu", "quick_gelu", ...), a trap of its own in CLIP models.
        preprocessing: picture size, resizing, mean, std; or tokenizer, longest length, prefix of each caption.
        precision: what the forward pass computes in.
        shapes: what one forward pass gives, output -> shape of a row, the default output first.
        parameters: how many numbers the weights' file holds; not part of the fingerprint.
        pixels: of one picture as the model reads it, 0 for captions; not part of the fingerprint, the preprocessing is.
        view: which fixed variant of the input it reads; "identity" is the input as it is.
        view_settings: everything that decides how the view looks; empty for the input as it is.
    """

    name: str
    modality: Modality
    backend: str
    model: Mapping[str, Any]
    weights: str
    weights_bytes: int
    activation: str
    preprocessing: Mapping[str, Any]
    precision: Precision
    shapes: Mapping[str, Shape]
    parameters: int = 0
    pixels: int = 0
    view: str = IDENTITY
    view_settings: str = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what one forward pass gives, the default one first."""
        return tuple(self.shapes)

    def fields(self, output: str, storage: Storage) -> dict[str, Any]:
        """The fields that the fingerprint of one output's table is made of, as JSON values."""
        return {
            "modality": self.modality,
            "backend": self.backend,
            "model": dict(self.model),
            "weights": self.weights,
            "activation": self.activation,
            "preprocessing": dict(self.preprocessing),
            "precision": self.precision,
            "view": self.view_settings or self.view,
            "output": output,
            "storage": storage,
        }

    def table_name(self, output: str) -> str:
        """ "encoder/modality/output", or "encoder/modality/output@view": the name of that output's feature table."""
        view = "" if self.view == IDENTITY else f"@{self.view}"
        return f"{self.name}/{self.modality}/{output}{view}"

    def fingerprint(self, output: str, storage: Storage) -> str:
        """SHA-256 (hex) over :meth:`fields`."""
        return fingerprint(self.fields(output, storage))

    def describe(self, output: str, storage: Storage, provenance: Mapping[str, Any]) -> TableDescription:
        """The description of that output's feature table. Raises EncoderError where there is no such output."""
        if output not in self.shapes:
            raise EncoderError(f"encoder {self.name} gives no {output!r}", f"It gives {', '.join(self.outputs)}")
        fields, (tokens, dim) = self.fields(output, storage), self.shapes[output]
        about = {"weights_bytes": self.weights_bytes, "parameters": self.parameters, **provenance}
        return TableDescription(self.table_name(output), fingerprint(fields), fields, tokens, dim, storage, about)


class Prepared(NamedTuple):
    """One input, ready to be collated.

    Attributes:
        value: what the encoder's ``collate`` takes.
        length: of a caption in tokens, special ones included; 1 for a picture. Inputs of like length waste no padding.
        notes: what had to be done to it and a reader should know ("truncated").
    """

    value: Any
    length: int = 1
    notes: tuple[str, ...] = ()


class Encoder(Protocol):
    """A frozen encoder with its weights in memory.

    ``prepare`` and ``collate`` run in several threads beside ``encode``; on a GPU two threads call ``encode``, so that
    one batch is sent and fetched while the other is computed.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""
        ...

    def prepare(self, item: Any) -> Prepared:
        """One picture (an RGB ``PIL.Image``) or caption (str)."""
        ...

    def collate(self, items: Sequence[Prepared]) -> Mapping[str, torch.Tensor]:
        """Prepared items as one batch."""
        ...

    def encode(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """One forward pass: output -> (batch, tokens, dim) float32 on the CPU, as the spec says, never normalised."""
        ...


@dataclass(frozen=True)
class PortableEncoder:
    """Files that make a folder in which an encoder is found again, the same on another machine without a network.

    Attributes:
        name: of the encoder, with "{folder}" where the folder's path belongs.
        files: name in the folder -> the file, or what stands in it.
    """

    name: str
    files: Mapping[str, Path | bytes]


@runtime_checkable
class Portable(Protocol):
    """A factory whose files can be taken along."""

    def portable(self) -> PortableEncoder:
        """Its files. Raises EncoderError where they are not enough without a network."""
        ...


class EncoderFactory(Protocol):
    """Where an encoder's weights are and what they are; knowing that imports no deep-learning library."""

    @property
    def specs(self) -> tuple[EncoderSpec, ...]:
        """One for each modality that the model reads."""
        ...

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load the weights once and give one encoder for each of ``specs``, at most one a modality: the factory's own,
        or these with another precision. With ``compiled`` forward passes go through torch.compile.

        Raises:
            EncoderError: they can't be loaded, or give other features than the spec says.
            ConfigError: the device can't compute in the spec's precision.
        """
        ...
