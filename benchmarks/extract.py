"""Stage one: the pipeline beside its two halves alone, decoding and the bare forward pass, and beside a plain
DataLoader loop over the same library, in the same run.

On a machine where both halves share the processors the pipeline can't be faster than 1 / (1/forward + 1/decode).
"""

from __future__ import annotations

import resource
import statistics
import tempfile
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import plain_loop
from common import in_own_process, open_data, parser, report, timed
from random_models import random_clip, random_timm

from clipfuse.data import Dataset
from clipfuse.data.pictures import PictureError, decode_picture
from clipfuse.encoders import Encoder, EncoderFactory, find_encoder
from clipfuse.extract import ExtractOptions, extract
from clipfuse.inputs import cpu_count
from clipfuse.probe import default_batch_size
from clipfuse_cache import FeatureCache


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--encoder", action="append", help="as often as wanted; mini if left out")
    options.add_argument("--random-clip", action="append", default=[], help="a CLIP of that size with random weights")
    options.add_argument("--random-timm", action="append", default=[], help="a timm model of that size, likewise")
    options.add_argument("--reads", choices=("image", "text"), help="only that modality")
    options.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options.add_argument("--device", default="cpu")
    options.add_argument("--batch-size", type=int, help="what extract would choose, if left out")
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.repeats = 20, 1
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_data(chosen, Path(folder) / "data")
        names = list(chosen.encoder or [])
        names += [random_clip(Path(folder) / name, name) for name in chosen.random_clip]
        names += [random_timm(Path(folder) / name, name) for name in chosen.random_timm]
        for name in names or ["mini"]:
            factory = find_encoder(name, precision=chosen.precision)
            for spec in factory.specs:
                if chosen.reads in (None, spec.modality):
                    (encoder,) = factory.load(chosen.device, [spec])
                    rows.append(measure(name, _Loaded(factory, encoder), dataset, chosen))
    report("extract", chosen, rows, {"device": chosen.device, "precision": chosen.precision})


class _Loaded:
    """A factory whose one encoder is in memory already, so that loading is not part of a figure."""

    def __init__(self, factory: EncoderFactory, encoder: Encoder) -> None:
        self.specs = (encoder.spec,)
        self.encoder = encoder

    def load(self, device: str, specs: Any, *, compiled: bool = False) -> list[Encoder]:
        return [self.encoder]


def measure(name: str, factory: _Loaded, dataset: Dataset, options: Any) -> dict[str, Any]:
    """Median of the repeats, each of them all three in turn."""
    encoder = factory.encoder
    inputs = distinct_inputs(encoder, dataset)
    size = options.batch_size or default_batch_size(encoder.spec.pixels)
    batches = prepared_batches(encoder, inputs, size)
    encoder.encode(batches[0])
    times: dict[str, list[float]] = {"decode": [], "forward": [], "pipeline": []}
    plain, busy = [], []
    for _ in range(options.repeats):
        times["decode"].append(timed(lambda: prepare_all(encoder, inputs)))
        times["forward"].append(timed(lambda: [encoder.encode(batch) for batch in batches]))
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache(Path(folder))
            report_ = extract([factory], dataset, cache, ExtractOptions(options.device, batch_size=size))
            times["pipeline"].append(report_.encode_seconds)
            busy.append(report_.stages[encoder.spec.modality].busy)
        plain.append(plain_rate(name, encoder, size, options))
    count = len(inputs)
    rates = {what: count / statistics.median(seconds) for what, seconds in times.items()}
    limit = 1 / (1 / rates["decode"] + 1 / rates["forward"])
    return {
        "encoder": Path(name).name if "/" in name and ":" in name else name,  # a folder's name, and not where it is
        "reads": encoder.spec.modality,
        "inputs": count,
        "decode/s": rates["decode"],
        "forward/s": rates["forward"],
        "pipeline/s": rates["pipeline"],
        "shared limit/s": limit,
        "share of limit": rates["pipeline"] / limit,
        "share of forward": rates["pipeline"] / rates["forward"],
        "encoder busy": statistics.median(busy),
        "DataLoader/s": statistics.median(plain),
        "times DataLoader": rates["pipeline"] / statistics.median(plain),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def plain_rate(name: str, encoder: Encoder, size: int, options: Any) -> float:
    if options.quick:
        theirs = {"encoder": name, "reads": encoder.spec.modality, "batch_size": size}
        return plain_loop.measure(Namespace(**{**vars(options), **theirs}))
    arguments = ["--encoder", name, "--rows", options.rows, "--reads", encoder.spec.modality]
    arguments += ["--batch-size", size, "--device", options.device]
    arguments += ["--data", options.data] if options.data else []
    arguments += ["--images", options.images] if options.images else []
    return float(in_own_process(str(Path(__file__).with_name("plain_loop.py")), *arguments)["rows/s"])


def distinct_inputs(encoder: Encoder, dataset: Dataset) -> list[Any]:
    """Pictures or captions, each once."""
    items = dataset.images if encoder.spec.modality == "image" else dataset.captions
    return list(dict.fromkeys(item for item in items if item is not None))


def prepared_batches(encoder: Encoder, inputs: list[Any], size: int) -> list[Any]:
    """Everything ready for the forward pass, inputs of a length together."""
    prepared = sorted((one for one in prepare_all(encoder, inputs) if one is not None), key=lambda one: one.length)
    return [encoder.collate(prepared[start : start + size]) for start in range(0, len(prepared), size)]


def prepare_all(encoder: Encoder, inputs: list[Any]) -> list[Any]:
    """Read, decode and transform everything with as many threads as the pipeline has."""

    def one(item: Any) -> Any:
        try:
            return encoder.prepare(decode_picture(item.read()).image if encoder.spec.modality == "image" else item)
        except PictureError:
            return None

    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(one, inputs, chunksize=16))


if __name__ == "__main__":
    main()
