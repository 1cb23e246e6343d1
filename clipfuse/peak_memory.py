"""How much memory this process needed at most while it did something."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5)


@dataclass(frozen=True)
class Peak:
    """Memory of the process, libraries and all that it held before included.

    Attributes:
        bytes: resident at most.
        before: resident when it began; None where only the system's record of the whole process can be had.
        since: from when the peak is: "start" of what was watched, or the beginning of the "process", where the system
            can't forget an earlier peak.
        gpu_bytes: allocated by torch on the GPU at most; None on a processor.
    """

    bytes: int
    before: int | None
    since: Literal["start", "process"]
    gpu_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class PeakMemory:
    """Watches from its making on::

        peak = PeakMemory.start(device)
        ...
        metrics["peak_memory"] = peak.stop().to_dict()

    One at a time: each start makes the system, and torch, forget the peak so far.
    """

    def __init__(self, device: str, before: int | None, *, fresh: bool) -> None:
        self._device = device
        self._before = before
        self._fresh = fresh

    @classmethod
    def start(cls, device: str) -> Self:
        """Begin, for a process that computes on ``device`` ("cpu" or a GPU)."""
        if device != "cpu":
            import torch

            torch.cuda.init()  # type: ignore[no-untyped-call]  # before it a reset is an error
            torch.cuda.reset_peak_memory_stats(torch.device(device))
        try:
            _CLEAR.write_text(_RESET_PEAK)
        except OSError:  # not Linux, or not allowed
            return cls(device, None, fresh=False)
        return cls(device, _status("VmRSS"), fresh=True)

    def stop(self) -> Peak:
        """What was needed at most since the start."""
        gpu = None
        if self._device != "cpu":
            import torch

            gpu = int(torch.cuda.max_memory_allocated(torch.device(self._device)))
        peak = _status("VmHWM") if self._fresh else None
        if peak is None:
            return Peak(_process_peak(), None, "process", gpu)
        return Peak(peak, self._before, "start", gpu)


def _status(name: str) -> int | None:
    """Bytes, of a line of /proc/self/status; None where there is none."""
    try:
        for line in _STATUS.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _process_peak() -> int:
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
