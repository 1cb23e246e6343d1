"""What an encoder is, apart from its weights in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from clipfuse_cache.fingerprint import fingerprint
from clipfuse_cache.manifest import TableDescription

if TYPE_CHECKING:
    import torch

Modality = Literal["image", "text"]
Precision = Literal["float32", "bfloat16"]
Storage = Literal["float16", "float32"]


@dataclass(frozen=True, eq=False)
class EncoderSpec:
    """Everything that changes a number of one encoder's features, known before its weights load.

    Attributes:
        name: what the user typed; not part of the fingerprint, because it changes no number.
        modality: what it reads.
        backend: the library that runs it: "open_clip", "timm", "transformers".
        model: the architecture, with every setting that shapes it.
        weights: SHA-256 (hex) of the weights' file.
        weights_bytes: its size in bytes; not part of the fingerprint.
        activation: the activation function ("gelu", "quick_gelu", ...), a trap of its own in CLIP models.
        preprocessing: picture size, resizing, mean, std; or tokenizer and context length.
        precision: what the forward pass computes in.
        pixels: of one picture as the model reads it, 0 for captions; not part of the fingerprint, the preprocessing is.
        view: which fixed variant of the input it reads; "identity" is the input as it is.
        outputs: names of what one forward pass gives, the default one first.
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
    outputs: tuple[str, ...]
    pixels: int = 0
    view: str = field(default="identity")

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
            "view": self.view,
            "output": output,
            "storage": storage,
        }

    def table_name(self, output: str) -> str:
        """ "encoder/modality/output", the name of that output's feature table."""
        return f"{self.name}/{self.modality}/{output}"

    def fingerprint(self, output: str, storage: Storage) -> str:
        """SHA-256 (hex) over :meth:`fields`."""
        return fingerprint(self.fields(output, storage))

    def describe(self, output: str, storage: Storage, dim: int, provenance: Mapping[str, Any]) -> TableDescription:
        """The description of that output's feature table; ``dim`` is the loaded encoder's."""
        fields = self.fields(output, storage)
        about = {"weights_bytes": self.weights_bytes, **provenance}
        return TableDescription(self.table_name(output), fingerprint(fields), fields, 1, dim, storage, about)


class Encoder(Protocol):
    """A frozen encoder with its weights in memory.

    ``prepare`` runs in several threads beside ``encode``; ``encode`` runs in one.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""
        ...

    @property
    def dims(self) -> Mapping[str, int]:
        """Output -> width."""
        ...

    def prepare(self, item: Any) -> Any:
        """One picture (an RGB ``PIL.Image``) or caption (str) as a tensor of its own."""
        ...

    def collate(self, items: Sequence[Any]) -> Mapping[str, torch.Tensor]:
        """Prepared items as one batch."""
        ...

    def encode(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """One forward pass: output -> (batch, tokens, dim) float32 on the CPU, never normalised."""
        ...


class EncoderFactory(Protocol):
    """Where an encoder's weights are and what they are; knowing that imports no deep-learning library."""

    @property
    def specs(self) -> tuple[EncoderSpec, ...]:
        """One for each modality that the model reads."""
        ...

    def load(self, device: str, modalities: Sequence[Modality]) -> list[Encoder]:
        """Load the weights once and give one encoder for each of ``modalities``."""
        ...
