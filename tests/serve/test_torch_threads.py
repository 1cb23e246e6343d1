"""One thread or all of them, whichever is quicker."""

from types import SimpleNamespace

import pytest

from clipfuse.serve import torch_threads
from clipfuse.serve.torch_threads import choose_torch_threads


@pytest.mark.parametrize(("seconds", "best"), [({1: 3.0, 4: 1.0}, 4), ({1: 0.5, 4: 1.0}, 1)])
def test_the_quicker_one(monkeypatch, seconds, best):
    now, clock, asked = {"threads": 4}, {"seconds": 0.0}, []
    fake = SimpleNamespace(
        get_num_threads=lambda: now["threads"], set_num_threads=lambda threads: now.update(threads=threads)
    )
    monkeypatch.setattr(torch_threads, "torch", fake)
    monkeypatch.setattr(torch_threads, "time", SimpleNamespace(perf_counter=lambda: clock["seconds"]))

    def predict(*, images, captions, numbers):
        assert len(images) == len(captions) == len(numbers["price"])
        asked.append(now["threads"])
        clock["seconds"] += seconds[now["threads"]]

    loaded = SimpleNamespace(device="cpu", number_columns=("price",), predict=predict)
    assert choose_torch_threads(loaded) == now["threads"] == best
    assert set(asked) == {1, 4}
    now["threads"] = 4
    asked.clear()
    assert choose_torch_threads(SimpleNamespace(device="cuda")) == 4  # a processor's threads don't matter there
    now["threads"] = 1
    assert choose_torch_threads(loaded) == 1 and not asked
