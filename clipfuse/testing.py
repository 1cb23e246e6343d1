"""For tests of clipfuse and of what is built on it: an encoder without a model, and what every encoder, head and fusion
must do."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipfuse.data.dataset import Dataset, ImageRef, TableLayout
from clipfuse.data.image_names import make_stamp
from clipfuse.data.origins import Origins
from clipfuse.data.pictures import DECODER
from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Modality, Precision, Prepared, Shape
from clipfuse.model_contracts import check_fusion as check_fusion
from clipfuse.model_contracts import check_head as check_head

TOLERANCE: dict[Precision, float] = {"float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}
"""How far a row's features may move with the rest of its batch, relative to the largest of them."""

_THREADS = 4
_ROUNDS = 3


def _never(_item: Any) -> bool:
    return False


@dataclass
class FakeFactory:
    """An encoder factory without a model: features are computed from a digest of the caption or the pixels.

    Attributes:
        name: its name; a part of its "weights", so that two fakes of different names are different encoders.
        dim: width of every output.
        outputs: names of the outputs.
        modalities: what it reads.
        delay: seconds that each forward pass takes.
        batch_effect: how far a row's features depend on the rest of its batch, as they do by rounding on a GPU.
        scale: features are of about this size.
        refuses: items that ``prepare`` raises for.
        not_finite: items whose features hold a NaN.
        longest: captions of more words are cut, and noted as truncated.
        loads, prepared, encoded: how often weights were loaded, items prepared, rows encoded so far.
    """

    name: str = "fake"
    dim: int = 6
    outputs: tuple[str, ...] = ("projected",)
    modalities: tuple[Modality, ...] = ("image", "text")
    precision: Precision = "float32"
    delay: float = 0.0
    batch_effect: float = 0.0
    scale: float = 1.0
    refuses: Callable[[Any], bool] = _never
    not_finite: Callable[[Any], bool] = _never
    longest: int | None = None
    loads: int = 0
    prepared: list[Any] = field(default_factory=list)
    encoded: int = 0

    def __post_init__(self) -> None:
        self.specs = tuple(
            EncoderSpec(
                name=self.name,
                modality=modality,
                backend="fake",
                model={"dim": self.dim, "scale": self.scale},
                weights=hashlib.sha256(self.name.encode()).hexdigest(),
                weights_bytes=1,
                activation="none",
                preprocessing={"decoder": DECODER} if modality == "image" else {"tokenizer": "sha256"},
                precision=self.precision,
                shapes=dict.fromkeys(self.outputs, Shape(1, self.dim)),
            )
            for modality in self.modalities
        )

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """One encoder for each of ``specs``; ``compiled`` changes nothing, there is no model."""
        if device != "cpu":
            raise ValueError(f"a fake encoder runs on the CPU, not on {device!r}")
        self.loads += 1
        return [FakeEncoder(self, spec) for spec in specs]


class MemoryImages:
    """A source of pictures in memory. As with a folder, a stamp is a file's size and time.

    Attributes:
        files: name -> the file's bytes; change it as one changes files, and ``times`` with it.
        times: name -> time of its last change; 0 where absent.
        unreadable: names whose ``read`` raises OSError.
        reads: the names read so far.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.path = Path("/in-memory")
        self.files = dict(files)
        self.times: dict[str, int] = {}
        self.unreadable: set[str] = set()
        self.reads: list[str] = []

    def find(self, reference: str) -> str | None:
        """The file of that name."""
        return reference if reference in self.files else None

    def read(self, key: str) -> bytes:
        """The file's bytes. Raises OSError for the unreadable ones."""
        self.reads.append(key)
        if key in self.unreadable:
            raise OSError(errno.EIO, "Input/output error")
        return self.files[key]

    def stamp(self, key: str) -> int:
        """Changes with the file's size or time. Raises OSError where it is gone."""
        if key not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return make_stamp(len(self.files[key]), self.times.get(key, 0))


def fake_dataset(images: MemoryImages, captions: Mapping[str, str | None]) -> Dataset:
    """A data set whose ids are the names in ``captions``; a row's picture is the one of its name, where there is one.

    There is one label, "even", which every other row has.
    """
    ids = tuple(captions)
    return Dataset(
        ids=ids,
        images=tuple(ImageRef(images, name) if name in images.files else None for name in ids),
        captions=tuple(captions.values()),
        labels=np.array([[row % 2 == 0] for row in range(len(ids))], dtype=np.bool_).reshape(-1, 1),
        label_names=("even",),
        origins=Origins.of_file(Path("table.csv"), range(2, len(ids) + 2)),
        layout=TableLayout("csv", ("id", "caption", "labels"), "id", "id", "caption", "labels", "joined", " "),
        references=ids,
    )


def small_png(number: int) -> bytes:
    """A picture's file; another for another number."""
    file = io.BytesIO()
    colour = (number % 256, number // 256 % 256, 7)
    Image.new("RGB", (3, 2), colour).save(file, "PNG")
    return file.getvalue()


def load_encoders(
    factory: EncoderFactory, modalities: Sequence[Modality] = ("image", "text"), device: str = "cpu"
) -> list[Encoder]:
    """The factory's encoders of these modalities, loaded."""
    return factory.load(device, [spec for spec in factory.specs if spec.modality in modalities])


class FakeEncoder:
    """What :class:`FakeFactory` loads."""

    def __init__(self, factory: FakeFactory, spec: EncoderSpec) -> None:
        self.spec = spec
        self._factory = factory

    def prepare(self, item: Any) -> Prepared:
        """The item's own vector. Raises ValueError for the items that the factory says so of."""
        self._factory.prepared.append(item)
        words = item.split() if isinstance(item, str) else [""]
        notes: tuple[str, ...] = ()
        if self._factory.longest is not None and len(words) > self._factory.longest:
            words, notes = words[: self._factory.longest], ("truncated",)
            item = " ".join(words)
        if self._factory.refuses(item):
            raise ValueError("refused")
        data = item.encode() if isinstance(item, str) else repr(item.size).encode() + item.convert("RGB").tobytes()
        values = _normal(data, self._factory.dim)
        if self._factory.not_finite(item):
            values[0] = np.nan
        return Prepared(torch.from_numpy(values), len(words), notes)

    def collate(self, items: Sequence[Prepared]) -> Mapping[str, torch.Tensor]:
        """Prepared items as one batch."""
        return {"vectors": torch.stack([item.value for item in items])}

    def encode(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Every output: (batch, 1, dim) float32."""
        time.sleep(self._factory.delay)
        vectors = batch["vectors"].numpy()
        self._factory.encoded += len(vectors)
        neighbours = np.nan_to_num(vectors).sum(axis=0) * np.float32(self._factory.batch_effect)
        return {
            output: torch.from_numpy(
                (vectors * _normal(f"{self.spec.name}/{output}".encode(), self._factory.dim) + neighbours)[:, None]
                * np.float32(self._factory.scale)
            )
            for output in self._factory.outputs
        }


def _normal(data: bytes, dim: int) -> Any:
    """(dim,) float32, the same for the same bytes on every machine."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(dim, dtype=np.float32)


def check_encoder(encoder: Encoder, items: Sequence[Any] | None = None, tolerance: float | None = None) -> None:
    """What every encoder promises (see :class:`clipfuse.encoders.Encoder`), tried out.

    Args:
        encoder: the loaded encoder.
        items: at least three pictures or captions to try it with; None takes some of every sort.
        tolerance: how far features may move with the rest of the batch; None takes ``TOLERANCE``.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    check_spec(encoder.spec)
    chosen = items if items is not None else (example_pictures() if _reads_pictures(encoder) else example_captions())
    prepared = [encoder.prepare(item) for item in chosen]
    _check_threads(encoder, chosen, prepared)
    together = dict(encoder.encode(encoder.collate(prepared)))
    _check_shapes(encoder, together, len(chosen))
    again = encoder.encode(encoder.collate(prepared))
    for output, features in together.items():
        _demand(torch.equal(features, again[output]), f"{output}: the same batch gave other features")
    allowed = TOLERANCE[encoder.spec.precision] if tolerance is None else tolerance
    for output, features in together.items():
        spread = (features[0] - features[-1]).abs().max().item()
        _demand(spread > 0, f"{output}: two items have the same features")
    for row, one in enumerate(prepared):
        for output, features in encoder.encode(encoder.collate([one])).items():
            moved = (features[0] - together[output][row]).abs().max().item() / features.abs().max().item()
            _demand(moved <= allowed, f"{output}: row {row} moves by {moved:.2g} (relative) with its batch")


def check_spec(spec: EncoderSpec) -> None:
    """That a spec says everything, as JSON, and that its fingerprint hangs on all that changes a number.

    Raises:
        AssertionError: something is missing or left out of the fingerprint.
    """
    for name in ("name", "backend", "activation", "view", "model", "preprocessing", "shapes"):
        _demand(bool(getattr(spec, name)), f"the spec's {name} is empty")
    _demand(spec.modality in ("image", "text"), f"no such modality: {spec.modality!r}")
    _demand(spec.precision in TOLERANCE, f"no such precision: {spec.precision!r}")
    _demand(len(spec.weights) == 64 and int(spec.weights, 16) >= 0, "weights must be a SHA-256 in hex")
    _demand(spec.weights_bytes > 0, "weights_bytes must be the size of the weights' file")
    _demand(all(min(shape) > 0 for shape in spec.shapes.values()), "a shape is empty")
    for output in spec.outputs:
        fields = spec.fields(output, "float16")
        _demand(json.loads(json.dumps(fields)) == fields, "the fingerprint's fields must be plain JSON values")
        _demand(spec.fingerprint(output, "float16") == spec.fingerprint(output, "float16"), "the fingerprint varies")
    first = spec.outputs[0]
    prints = {"": spec.fingerprint(first, "float16"), "storage": spec.fingerprint(first, "float32")}
    prints |= {f"output {output}": spec.fingerprint(output, "float16") for output in spec.outputs[1:]}
    prints |= {what: other.fingerprint(first, "float16") for what, other in _variants(spec)}
    seen: dict[str, str] = {}
    for what, value in prints.items():
        _demand(value not in seen, f"the fingerprint does not change with {what or seen.get(value)}")
        seen[value] = what
    renamed = replace(spec, name="another name", weights_bytes=spec.weights_bytes + 1)
    _demand(renamed.fingerprint(first, "float16") == prints[""], "the fingerprint hangs on the encoder's name")


def _variants(spec: EncoderSpec) -> Iterator[tuple[str, EncoderSpec]]:
    yield "modality", replace(spec, modality="text" if spec.modality == "image" else "image")
    yield "backend", replace(spec, backend=spec.backend + "x")
    yield "weights", replace(spec, weights=spec.weights[::-1] + "0")
    yield "activation", replace(spec, activation=spec.activation + "x")
    yield "precision", replace(spec, precision="bfloat16" if spec.precision == "float32" else "float32")
    yield "view", replace(spec, view=spec.view + "x")
    for key in spec.model:
        yield f"model.{key}", replace(spec, model={**spec.model, key: [spec.model[key], "x"]})
    for key in spec.preprocessing:
        changed = {**spec.preprocessing, key: [spec.preprocessing[key], "x"]}
        yield f"preprocessing.{key}", replace(spec, preprocessing=changed)


def _check_threads(encoder: Encoder, items: Sequence[Any], prepared: Sequence[Any]) -> None:
    def all_of_them(start: int) -> list[tuple[int, Any]]:
        places = [(start + n) % len(items) for n in range(len(items) * _ROUNDS)]
        return [(place, encoder.prepare(items[place])) for place in places]

    with ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(all_of_them, range(_THREADS)):
            for place, one in found:
                _demand(_same(one, prepared[place]), f"prepare gives another result in a thread for item {place}")


def _check_shapes(encoder: Encoder, found: Mapping[str, torch.Tensor], rows: int) -> None:
    names = encoder.spec.outputs
    _demand(set(found) == set(names), f"encode gives {sorted(found)}, the spec says {sorted(names)}")
    for output, features in found.items():
        shape = tuple(features.shape)
        expected = (rows, *encoder.spec.shapes[output])
        _demand(shape == expected, f"{output}: shape is {shape}, expected {expected}")
        _demand(features.dtype == torch.float32, f"{output}: dtype is {features.dtype}, expected float32")
        _demand(features.device.type == "cpu", f"{output}: features are on {features.device}, expected the CPU")
        _demand(not features.requires_grad, f"{output}: features carry gradients")
        _demand(bool(features.isfinite().all()), f"{output}: features are not finite")


def _same(one: Prepared, other: Prepared) -> bool:
    if isinstance(one.value, torch.Tensor):
        return torch.equal(one.value, other.value) and one[1:] == other[1:]
    return one == other


def _reads_pictures(encoder: Encoder) -> bool:
    return encoder.spec.modality == "image"


def _demand(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise AssertionError(otherwise)


def example_pictures() -> list[Image.Image]:
    """Small RGB pictures of several shapes."""
    pictures = []
    for number, (width, height) in enumerate([(40, 30), (30, 40), (64, 64), (1, 1), (100, 7)]):
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
        pictures.append(Image.fromarray(noise // 2 + ramp // 2))
    return pictures


def example_captions() -> list[str]:
    """Captions of several lengths, one longer than any encoder reads, one with rare characters."""
    return [
        "a cat",
        "Two people ride bicycles along a river in the evening sun.",
        "word " * 800,
        "Ünïcödé, 日本語, 🙂 and a\ttab",
        "!",
    ]
