"""The forward pass that all backends share: device, precision, shapes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from clipfuse.encoders.spec import EncoderSpec
from clipfuse.errors import ConfigError, EncoderError
from clipfuse.memory import keep_freed_memory

Batch = Mapping[str, torch.Tensor]
Compute = Callable[[Batch], Batch]


class ForwardPass:
    """Runs ``compute`` without gradients on ``device`` in the spec's precision; several threads may call it.

    bfloat16 and float16 are autocast over float32 weights: norms and softmax stay in float32. The module is put on the
    device and in evaluation mode. On a GPU each thread has a stream of its own, so that one batch is sent and fetched
    while another is computed.
    """

    def __init__(
        self, spec: EncoderSpec, compute: Compute, module: torch.nn.Module, device: str, *, compiled: bool
    ) -> None:
        self._spec = spec
        self._device = torch.device(device)
        if self._device.type == "cpu":
            if spec.precision == "float16":
                raise ConfigError(
                    f"encoder {spec.name}: float16 is 5 to 20 times slower than float32 on a CPU",
                    "Use --precision bfloat16 or float32",
                )
            keep_freed_memory()
        module.eval().requires_grad_(requires_grad=False).to(self._device)
        # captions come in any length; pictures in one size, and the last batch of a shard in any number: compiled for
        # fixed shapes alone, each such number would compile again
        dynamic = None if spec.modality == "image" else True
        self._compute = torch.compile(compute, dynamic=dynamic) if compiled else compute
        self._plain = compute
        self._streams = threading.local()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the weights are there before another stream reads them

    @property
    def plain(self) -> Compute:
        """What it computes, where and in whichever precision the batch is: what can be traced."""
        return self._plain

    def check(self, batch: Batch) -> None:
        """Try a batch. Raises EncoderError where its features have another shape than the spec says."""
        with torch.inference_mode(), self._autocast():
            found = self._plain({name: value.to(self._device) for name, value in batch.items()})
        for output, shape in self._spec.shapes.items():
            got = tuple(_with_tokens(found[output]).shape[1:])
            if got != shape:
                raise EncoderError(f"{output} is {got} for a row, expected {tuple(shape)}")

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Batch:
        """Output -> (batch, tokens, dim) float32 on the CPU."""
        if self._device.type != "cuda":
            return {name: value.cpu() for name, value in self._outputs(batch).items()}
        stream = self._stream()
        with torch.cuda.stream(stream):
            fetched = {name: value.to("cpu", non_blocking=True) for name, value in self._outputs(batch).items()}
        stream.synchronize()
        return fetched

    def _outputs(self, batch: Batch) -> Batch:
        moved = {name: value.to(self._device, non_blocking=True) for name, value in batch.items()}
        with self._autocast():
            outputs = self._compute(moved)
        return {name: _with_tokens(value).float() for name, value in outputs.items()}

    def _stream(self) -> torch.cuda.Stream:
        if not hasattr(self._streams, "own"):
            self._streams.own = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._streams.own
        return stream

    def _autocast(self) -> AbstractContextManager[object]:
        if self._spec.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=getattr(torch, self._spec.precision))


def pinned(batch: Batch, device: str) -> Batch:
    """A batch as it is sent fastest to ``device``: in locked memory where that is a GPU."""
    return {name: value.pin_memory() for name, value in batch.items()} if device.startswith("cuda") else batch


def _with_tokens(value: torch.Tensor) -> torch.Tensor:
    return value if value.ndim == 3 else value.unsqueeze(1)
