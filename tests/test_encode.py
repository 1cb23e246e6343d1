"""The pass: batches, lanes, shares."""

import threading
from dataclasses import replace

import pytest

from clipfuse import encode
from clipfuse.extract import ExtractOptions, extract
from clipfuse.shard_work import TOKENS_OF_A_ROW
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
from clipfuse_cache import FeatureCache
from clipfuse_cache.times import TIMES

OPTIONS = ExtractOptions(shard_rows=16, batch_size=2, threads=2)


class Watched(FakeFactory):
    """Notes the captions of every batch."""

    def load(self, device, specs, *, compiled=False):
        encoders = super().load(device, specs, compiled=compiled)
        for encoder in encoders:
            collate = encoder.collate
            encoder.collate = lambda items, collate=collate: (self.batches.append(items), collate(items))[1]
        return encoders

    def __post_init__(self):
        super().__post_init__()
        self.batches = []


def texts(count, words):
    captions = {f"p{n}": " ".join([f"w{n}", *["word"] * words(n)]) for n in range(count)}
    return fake_dataset(MemoryImages({}), captions)


def test_captions_are_batched_by_tokens(tmp_path):
    factory = Watched(modalities=("text",))
    dataset = texts(16, lambda n: [0, 30, 7, 70][n % 4])
    extract([factory], dataset, FeatureCache(tmp_path), OPTIONS)
    lengths = [[item.length for item in batch] for batch in factory.batches]
    assert [length for batch in lengths for length in batch] == sorted([1, 31, 8, 71] * 4)
    most = OPTIONS.batch_size * TOKENS_OF_A_ROW
    assert all(len(batch) * max(batch) <= most or len(batch) == 1 for batch in lengths)
    for batch, following in zip(lengths, lengths[1:], strict=False):  # none could have taken one more
        assert (len(batch) + 1) * following[0] > most


def run(root, device, factory=None, **changes):
    """An extraction whose pass believes that the fake runs on ``device``."""
    images = MemoryImages({f"p{n}": small_png(n) for n in range(50)})
    dataset = fake_dataset(images, {name: f"caption of {name}" for name in images.files})
    extract([factory or FakeFactory(batch_effect=0.1)], dataset, FeatureCache(root), replace(OPTIONS, **changes))
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != TIMES]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Two lanes, as on a GPU."""
    monkeypatch.setattr(encode, "lanes_of", lambda _: encode.GPU_LANES)


def test_two_lanes_give_the_same_bytes(tmp_path, on_a_gpu, monkeypatch):
    two = run(tmp_path / "two", "cuda")
    monkeypatch.setattr(encode, "lanes_of", lambda _: 1)
    assert two == run(tmp_path / "one", "cpu")


class Meets(FakeFactory):
    """Every forward pass but the last waits until another one is under way."""

    def load(self, device, specs, *, compiled=False):
        encoders = super().load(device, specs, compiled=compiled)
        meeting = threading.Barrier(2)
        self.threads = set()
        for encoder in encoders:
            inner = encoder.encode

            def together(batch, inner=inner):
                self.threads.add(threading.get_ident())
                meeting.wait(timeout=60)
                return inner(batch)

            encoder.encode = together
        return encoders


def test_two_batches_are_on_a_gpu_at_once(tmp_path, on_a_gpu):
    factory = Meets(modalities=("image",))  # 50 batches: an even number
    run(tmp_path, "cuda", factory, batch_size=1, shard_rows=10)
    assert len(factory.threads) == 2 and threading.get_ident() not in factory.threads


def test_a_processor_encodes_in_the_calling_thread(tmp_path):
    class Where(FakeFactory):
        def load(self, device, specs, *, compiled=False):
            encoders = super().load(device, specs, compiled=compiled)
            for encoder in encoders:
                inner = encoder.encode
                encoder.encode = lambda batch, inner=inner: (threads.add(threading.get_ident()), inner(batch))[1]
            return encoders

    threads = set()
    run(tmp_path, "cpu", Where())
    assert threads == {threading.get_ident()}
