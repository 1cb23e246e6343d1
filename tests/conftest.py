"""Feature caches without encoders, for everything that comes after stage one."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # in a job that a shell started in the background: a test that interrupts, and every child, would go on
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test may ask the hub
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: small tensors are quicker so, on a busy machine, too


def pytest_addoption(parser):
    parser.addoption("--faults", action="store_true", help="tests/faults: everything, not a small sample of it")


LABELS = ("dog", "cat", "kite", "tree")
DIMS = {"image": 10, "text": 8}


@dataclass(frozen=True)
class Toy:
    """A feature cache whose labels can be learned from each of its streams."""

    cache: Any
    samples: Any

    @property
    def ids(self):
        return self.samples.ids

    def split(self, **settings):
        """The split that these settings ask for."""
        from clipfuse.config import SplitConfig
        from clipfuse.splits import find_split

        return find_split(self.cache, self.samples, SplitConfig(**settings), None)

    def with_samples(self, **changes):
        """The same features with another samples.h5."""
        from dataclasses import replace

        samples = replace(self.samples, **changes)
        self.cache.write_samples(samples)
        return Toy(self.cache, samples)


def write_features(
    cache, samples, modality, values, *, encoder="toy", output="pooled", storage="float16", valid=None, view=None
):
    """A feature table of all ``samples``. ``valid`` None: every row that has the input. ``view`` None: as it is."""
    from clipfuse.encoders import EncoderSpec, Shape
    from clipfuse_cache import Shard
    from clipfuse_cache.fingerprint import NO_DIGEST

    spec = EncoderSpec(
        name=encoder,
        modality=modality,
        backend="toy",
        model={"name": encoder},
        weights="ab" * 32,
        weights_bytes=1000,
        activation="gelu",
        preprocessing={"size": 1},
        precision="float32",
        shapes={output: Shape(1, values.shape[-1])},
        **({} if view is None else {"view": view.name, "view_settings": view.settings()}),
    )
    digests = samples.input_digests(modality)
    there = np.array([digest != NO_DIGEST for digest in digests])
    valid = there if valid is None else valid & there
    about = spec.describe(output, storage, {})
    writer = cache.writer(about, samples.ids, digests, shard_rows=100, batch_size=50)
    writer.begin()
    for index in list(writer.missing()):
        rows = list(writer.rows_of(index))
        writer.write(
            index,
            Shard(
                ids=tuple(samples.ids[row] for row in rows),
                digests=np.frombuffer(b"".join(digests[row] for row in rows), np.uint8).reshape(-1, 16),
                values=(values[rows] * valid[rows, None])[:, None].astype(storage),
                valid=valid[rows],
            ),
        )
    return writer.commit()


def make_toy(
    root: Path,
    rows: int = 240,
    labels: int = 4,
    *,
    seed: int = 0,
    noise: float = 1.0,
    modalities: tuple[str, ...] = ("image", "text"),
    without: dict[str, float] | None = None,
    prefix: str = "row",
) -> Toy:
    """``without``: modality -> share of the rows that lack it. Features are a random mix of the labels, and noise."""
    from clipfuse.data.dataset import TableLayout
    from clipfuse_cache import FeatureCache, Samples

    rng = np.random.default_rng(seed)
    truth = rng.random((rows, labels)) < 0.4
    lacks = {name: rng.random(rows) < (without or {}).get(name, 0.0) for name in DIMS}
    layout = TableLayout("csv", ("id", "image", "caption", "labels"), "id", "image", "caption", "labels", "joined", "|")
    digests = rng.integers(1, 256, (rows, 16), dtype=np.uint8) * ~lacks["image"][:, None]
    samples = Samples(
        ids=tuple(f"{prefix}-{row:03d}" for row in range(rows)),
        captions=tuple(None if lacks["text"][row] else f"caption {row}" for row in range(rows)),
        labels=truth,
        label_names=LABELS[:labels] if labels <= len(LABELS) else tuple(f"label {n}" for n in range(labels)),
        tables=("train.csv",),
        table_of=np.zeros(rows, np.uint16),
        lines=np.arange(2, rows + 2, dtype=np.uint32),
        image_digests=digests,
        image_stamps=np.arange(1, rows + 1, dtype=np.uint64),
        layout=asdict(layout),
    )
    cache = FeatureCache(root)
    cache.write_samples(samples)
    for name in modalities:
        mix = rng.normal(size=(labels, DIMS[name]))
        values = (2.0 * truth - 1) @ mix + noise * rng.normal(size=(rows, DIMS[name])) + 3
        write_features(cache, samples, name, values)
    return Toy(cache, samples)


@pytest.fixture(scope="session")
def build_toy():
    """``make_toy(folder, ...)`` -> Toy."""
    return make_toy


@pytest.fixture(scope="session")
def add_features():
    """``write_features(cache, samples, modality, values, ...)`` -> FeatureTable."""
    return write_features


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A cache that no test changes: 240 rows, 4 labels, pictures and captions."""
    return make_toy(tmp_path_factory.mktemp("toy") / "cache")


@pytest.fixture
def small(tmp_path, build_toy):
    """A cache of 60 rows for a test to change."""
    return build_toy(tmp_path / "cache", rows=60)


@pytest.fixture(scope="session")
def _quick_intervals():
    """Most of the time of a small training goes to its intervals."""
    from clipfuse import evaluation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "REPLICATES", 40)
        yield


@pytest.fixture(scope="session")
def settings(_quick_intervals):
    """``settings(fusion, head="mlp", epochs=4, ...)`` -> TrainConfig of a small, quick model."""
    from clipfuse.train_config import TrainConfig

    small = {
        "mlp": {"hidden": (16,)},
        "chain": {"hidden": (16,)},
        "binary-rnn": {"hidden": 8},
        "knn": {"n_neighbors": 5},
    }
    small["label-query"] = {"width": 8, "heads": 2}

    def make(
        fusion="concat",
        head="mlp",
        *,
        epochs=4,
        fusion_settings=None,
        head_settings=None,
        fit=None,
        stacking=None,
        **others,
    ):
        return TrainConfig.model_validate(
            {
                "fusion": {"kind": fusion, **(fusion_settings or {})},
                "head": {"kind": head, **small.get(head, {}), **(head_settings or {})},
                "fit": {"epochs": epochs, "learning_rate": 1e-2, **(fit or {})},
                "stacking": {"folds": 2, "fit": {"epochs": 3, "learning_rate": 2e-2}, **(stacking or {})},
                **others,
            }
        )

    return make


@dataclass(frozen=True)
class Scenes:
    """Drawn pictures with captions, encoded by mini, and runs trained on them. No test changes any of it."""

    folder: Path
    table: Path
    images: Path
    cache: Any
    runs: dict[str, Any]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory, settings):
    """60 scenes, of which 5 have no usable picture and 3 no caption."""
    from clipfuse.config import SplitConfig, TableConfig
    from clipfuse.data import load_dataset
    from clipfuse.demo.scenes import draw_dataset
    from clipfuse.encoders import find_encoder
    from clipfuse.extract import ExtractOptions, extract
    from clipfuse.splits import find_split
    from clipfuse.train_head import train_head
    from clipfuse_cache import FeatureCache

    folder = tmp_path_factory.mktemp("scenes")
    table = draw_dataset(folder, rows=60)
    cache = FeatureCache(folder / "features")
    extract(
        [find_encoder("mini")],
        load_dataset(TableConfig(table=table, images=folder / "images")),
        cache,
        ExtractOptions(shard_rows=25, batch_size=16),
    )
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    configs = {"sum": settings("sum"), "image": settings("image"), "knn": settings("concat", "knn")}
    runs = {kind: train_head(cache, samples, split, config, runs=folder / "runs") for kind, config in configs.items()}
    return Scenes(folder, table, folder / "images", cache, runs)


@pytest.fixture(scope="session")
def wider(tmp_path_factory, _quick_intervals):
    """Runs that read numbers, and captions as they are; a fake encoder made the rest of their features."""
    from dataclasses import replace
    from types import SimpleNamespace

    from clipfuse.config import SplitConfig
    from clipfuse.extract import ExtractOptions, extract
    from clipfuse.splits import find_split
    from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, small_png
    from clipfuse.train_config import TrainConfig
    from clipfuse.train_head import train_head
    from clipfuse_cache import FeatureCache

    rows, factory = 60, FakeFactory()
    images = MemoryImages({f"p{n}": small_png(n) for n in range(rows)})
    captions = {f"p{n}": f"photo of {'dog' if n % 2 else 'cat'}" for n in range(rows)}
    plain = fake_dataset(images, captions)
    numbers = np.stack([100.0 * (np.arange(rows) % 2), np.arange(rows)], axis=1)
    dataset = replace(plain, numbers=numbers, number_names=("price", "age"))
    folder = tmp_path_factory.mktemp("wider")
    cache = FeatureCache(folder / "cache")
    extract([factory], dataset, cache, ExtractOptions(shard_rows=50, threads=1))
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    fit = {"epochs": 3, "precision": "float32"}

    def train(**given):
        config = TrainConfig.model_validate({"head": {"kind": "linear"}, "fit": fit, **given})
        return train_head(cache, samples, split, config, runs=folder / "runs")

    return SimpleNamespace(
        factory=factory,
        dataset=dataset,
        plain=plain,
        numbers=train(fusion={"kind": "concat"}, modalities=("image", "text", "numbers")),
        words=train(fusion={"kind": "text"}, head={"kind": "multinomial-nb"}, features="tfidf"),
    )
