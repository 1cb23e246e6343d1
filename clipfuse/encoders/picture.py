"""The encoder of pictures that all backends share: a transform, a network, an output or more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image

from clipfuse.encoders.forward import Batch, Compute, ForwardPass, pinned
from clipfuse.encoders.spec import EncoderSpec, Prepared


class PictureEncoder:
    """See :class:`clipfuse.encoders.Encoder`.

    Args:
        spec: what it is.
        transform: the library's own: an RGB picture to (3, height, width) float32.
        compute: (batch, 3, height, width) to the spec's outputs, each (batch, dim) or (batch, tokens, dim).
        network: what ``compute`` runs.
        device: "cpu" or "cuda".
        compiled: through torch.compile.

    Raises:
        EncoderError: its features have other shapes than ``spec`` says.
        ConfigError: ``device`` can't compute in the spec's precision.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        transform: Callable[[Image.Image], torch.Tensor],
        compute: Callable[[torch.Tensor], Mapping[str, torch.Tensor]],
        network: torch.nn.Module,
        device: str,
        *,
        compiled: bool,
    ) -> None:
        self.spec = spec
        self._transform = transform
        self._device = device
        # twice as fast for convolutional networks on a CPU (measured); the same for transformers
        network = network.to(memory_format=torch.channels_last)
        self._pass = ForwardPass(spec, lambda batch: compute(batch["pixels"]), network, device, compiled=compiled)
        self._pass.check(self.collate([self.prepare(Image.new("RGB", (8, 8)))]))

    def prepare(self, item: Image.Image) -> Prepared:
        """One RGB picture, resized and normalised."""
        return Prepared(self._transform(item))

    def collate(self, items: Sequence[Prepared]) -> Batch:
        """pixels: (batch, 3, height, width) float32."""
        pixels = torch.stack([item.value for item in items]).contiguous(memory_format=torch.channels_last)
        return pinned({"pixels": pixels}, self._device)

    @property
    def compute(self) -> Compute:
        """The network alone, in the precision of its weights: a batch to the spec's outputs. For tracing."""
        return self._pass.plain

    def encode(self, batch: Batch) -> Batch:
        """One forward pass."""
        return self._pass(batch)
