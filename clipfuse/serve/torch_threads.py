"""How many threads a forward pass is split among: what is quickest for this model, on this machine, as it is now."""

from __future__ import annotations

import io
import time

import numpy as np
import torch

from clipfuse.loaded_run import LoadedRun

_ROWS = 8
_ROUNDS = 3


def choose_torch_threads(loaded: LoadedRun) -> int:
    """Set torch's number of threads, in the thread that calls, to one or to as many as it is now, and return it.

    A small model is quicker with one: its threads wait for each other, and longer where other programs are at work (12
    instead of 105 ms for a row, measured on two busy cores). A large one is quicker with all.
    """
    most = torch.get_num_threads()
    if most == 1 or loaded.device != "cpu":
        return most
    seconds = {}
    for threads in (most, 1):
        torch.set_num_threads(threads)
        _predict(loaded)
        seconds[threads] = min(_predict(loaded) for _ in range(_ROUNDS))
    best = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(best)
    return best


def _predict(loaded: LoadedRun) -> float:
    """Seconds of some rows that have everything."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    numbers = {name: [0.0] * _ROWS for name in loaded.number_columns}
    started = time.perf_counter()
    loaded.predict(images=[out.getvalue()] * _ROWS, captions=["a photo of a dog"] * _ROWS, numbers=numbers)
    return time.perf_counter() - started
