"""Finding out how large a batch an encoder can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clipfuse.encoders import Encoder, Prepared
from clipfuse.machine import memory_bytes
from clipfuse.memory import is_out_of_memory
from clipfuse.shard_work import TOKENS_OF_A_ROW

CPU_PIXELS = 16 * 224 * 224
"""Pixels of a batch on a processor: one that stays in its caches is as fast as a large one, and takes less memory."""
GPU_MOST = 512
_SHARE = 0.4
"""Of the memory, on the GPU for one of two batches under way, on the host for all that are prepared ahead."""
_CAPTION = "two people on bicycles beside a river in the evening sun "


def default_batch_size(pixels: int) -> int:
    """Rows of one forward pass on a processor; ``pixels`` of one picture, 0 for captions."""
    return min(64, max(8, CPU_PIXELS // pixels)) if pixels else 64


def typical_batch(encoder: Encoder, rows: int) -> Mapping[str, Any]:
    """A batch of ordinary inputs."""
    return encoder.collate([_example(encoder, _CAPTION)] * rows)


def largest_batch(encoder: Encoder, device: str, prepared_ahead: int) -> int:
    """Rows of one forward pass that fit into the GPU's memory with as many again under way, and ``prepared_ahead``
    batches of them into the machine's: a power of two, at most 512, and at least 1. Captions count as 32 tokens each.
    """
    import torch

    example = _example(encoder, _CAPTION * 200)
    size = example.value.nbytes if isinstance(example.value, torch.Tensor) else 8 * example.length
    host = int(_SHARE * memory_bytes() / (size * prepared_ahead))

    def fits(rows: int) -> bool:
        free, _ = torch.cuda.mem_get_info(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        rows = rows if example.length == 1 else max(1, rows * TOKENS_OF_A_ROW // example.length)
        encoder.encode(encoder.collate([example] * rows))
        return torch.cuda.max_memory_allocated(device) - before <= _SHARE * free

    found = largest_that_fits(min(GPU_MOST, max(1, host)), fits)
    torch.cuda.empty_cache()
    return found


def largest_that_fits(most: int, fits: Callable[[int], bool]) -> int:
    """The largest power of two up to ``most`` for which ``fits`` neither says no nor runs out of memory; at least 1."""
    rows = 1 << (most.bit_length() - 1)
    while rows > 1:
        try:
            if fits(rows):
                return rows
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        rows //= 2
    return 1


def _example(encoder: Encoder, caption: str) -> Prepared:
    from PIL import Image

    picture = Image.new("RGB", (256, 256), (120, 90, 60))
    return encoder.prepare(picture if encoder.spec.modality == "image" else caption)
