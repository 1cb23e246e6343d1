"""What a figure was measured on."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipfuse.errors import ConfigError
from clipfuse.inputs import cpu_count

LIBRARIES = ("clipfuse", "torch", "open_clip_torch", "timm", "transformers", "scikit-learn", "numpy", "h5py", "pillow")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that change features or models."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_machine(device: str) -> dict[str, Any]:
    """Processor, memory in bytes, device and versions, as JSON values."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": cpu_count(),
        "memory": memory_bytes(),
        "device": device_name(device),
        "libraries": library_versions(),
    }


def compared_machine(device: str) -> dict[str, Any]:
    """Of :func:`describe_machine` what has to be equal for seconds to be compared."""
    return {"processor": _processor(), "cores": cpu_count(), "device": device_name(device)}


def machine_words(machine: Mapping[str, Any]) -> str:
    """ "AMD EPYC 9654, 2 cores", with the GPU behind it where that is the device."""
    gpu = "" if machine.get("device") in (None, "cpu") else f", {machine['device']}"
    return f"{machine.get('processor') or 'unknown processor'}, {machine.get('cores') or '?'} cores{gpu}"


def is_here(machine: Mapping[str, Any]) -> bool:
    """Whether something was measured on this machine: its processor, as many cores, and a device that it has."""
    if (machine.get("processor"), machine.get("cores")) != (_processor(), cpu_count()):
        return False
    device = machine.get("device")
    return device == "cpu" or device in _gpu_names()


def device_name(device: str) -> str:
    """ "cpu", or the name of the GPU."""
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name(torch.device(device)))


def has_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16 ("cpu" or a GPU); without them it is always slower."""
    if device != "cpu":
        return True
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in about or "amx_bf16" in about


def gpu_count() -> int:
    """GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


def choose_device(wanted: str) -> str:
    """ "cpu" or "cuda" for "auto": the GPU when there is one. Imports torch only where a GPU could be.

    Raises:
        ConfigError: no such device.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {wanted!r}", "Choose cpu, cuda or auto")
    on_linux = platform.system() == "Linux"
    could_be = not on_linux or any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
    if wanted != "cpu" and could_be:
        import torch

        if torch.cuda.is_available():
            return "cuda"
    if wanted == "cuda":
        raise ConfigError("there is no GPU that torch can use", "Leave out --device, or give --device cpu")
    return "cpu"


@functools.cache
def _gpu_names() -> frozenset[str]:
    """Names of the GPUs that this process may use; imports torch only where there could be one."""
    if choose_device("auto") == "cpu":
        return frozenset()
    return frozenset(device_name(f"cuda:{number}") for number in range(gpu_count()))


@functools.cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """The machine's memory, 0 where it can't be found out."""
    try:
        first = Path("/proc/meminfo").read_text().splitlines()[0]
        return int(first.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
