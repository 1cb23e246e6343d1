"""What a process needed at most."""

import mmap

import pytest

from clipfuse import peak_memory
from clipfuse.peak_memory import PeakMemory

SIZE = 200_000_000


def fill():
    """Memory that is used and given back: not the allocator's, which may have some left of earlier tests."""
    with mmap.mmap(-1, SIZE) as memory:
        for place in range(0, SIZE, mmap.PAGESIZE):
            memory[place] = 1


@pytest.mark.skipif(not peak_memory._CLEAR.exists(), reason="Linux only")
def test_a_peak_is_forgotten_by_the_next():
    watch = PeakMemory.start("cpu")
    fill()
    first = watch.stop()
    second = PeakMemory.start("cpu").stop()
    assert first.since == second.since == "start" and first.gpu_bytes is None
    assert first.bytes - first.before >= 0.9 * SIZE
    assert second.bytes - second.before <= 0.5 * SIZE


def test_where_the_system_does_not_forget_it_is_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(peak_memory, "_CLEAR", tmp_path / "nothing" / "clear_refs")
    found = PeakMemory.start("cpu").stop()
    assert (found.since, found.before) == ("process", None)
    assert found.bytes > 10_000_000


def test_of_a_gpu_what_torch_allocated_there(monkeypatch):
    import torch

    calls = []
    monkeypatch.setattr(torch.cuda, "init", lambda: calls.append("init"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(f"reset {device}"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    assert PeakMemory.start("cuda").stop().gpu_bytes == 7
    assert calls == ["init", "reset cuda"]
