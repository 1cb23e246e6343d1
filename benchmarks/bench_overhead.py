"""What clipfuse bench's figures are worth: its timing of a head beside loops that are written by hand, in the same run,
and its size columns beside the bytes of the files on disk.

One loop asks the same predictor, and shows what the timing itself adds. The other is bare torch: it reads the run's
safetensors file and is nothing but its matrices; it shows what the predictor's Python adds, which is next to nothing
for many rows and more than the matrices for one. All take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import add_cache_options, chosen_streams, open_split, parser, report

from clipfuse.bench import bench_row
from clipfuse.encoders import mini
from clipfuse.encoders.weights import file_digest
from clipfuse.rerun import cached_streams
from clipfuse.run import Run
from clipfuse.streams import Streams
from clipfuse.timing import MANY_ROWS, Effort, time_prediction
from clipfuse.train_config import FitConfig, FusionConfig, HeadConfig, TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import FeatureCache

MODELS = (("linear", "image"), ("mlp", "image"), ("mlp", "concat"))


def main() -> None:
    options = parser(__doc__ or "")
    add_cache_options(options)
    options.add_argument("--rounds", type=int, default=15)
    chosen = options.parse_args()
    effort = Effort(seconds=1.0, passes=10, calls=300)
    if chosen.quick:
        chosen.rows, chosen.rounds, effort = 120, 1, Effort(seconds=0.01, passes=2, calls=5)
    with tempfile.TemporaryDirectory() as folder:
        cache, samples, split = open_split(chosen, Path(folder))
        rows = []
        for head, fusion in MODELS:
            config = TrainConfig(
                head=HeadConfig(kind=head),
                fusion=FusionConfig(kind=fusion),
                fit=FitConfig(epochs=2),
                **chosen_streams(chosen),
            )
            run = train_head(cache, samples, split, config, runs=Path(folder) / "runs")
            rows.append({"model": f"{head} {fusion}", **timing(run, cache, effort, chosen.rounds), **sizes(run)})
    report("bench-overhead", chosen, rows, {"rounds": chosen.rounds})


def timing(run: Run, cache: FeatureCache, effort: Effort, rounds: int) -> dict[str, Any]:
    """Medians over the rounds; ratios of seconds, above 1 where bench is slower."""
    predictor, streams = run.predictor(), cached_streams(run, cache)
    streams = repeated(streams, MANY_ROWS)
    by_hand = hand_written(run)
    np.testing.assert_allclose(by_hand(streams), predictor.probabilities(streams), atol=1e-5)
    one = streams.rows(slice(0, 1))
    calls = {"bench": predictor.probabilities, "loop": predictor.probabilities, "bare": by_hand}
    ms: dict[str, list[float]] = {name: [] for name in calls}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        found = time_prediction(predictor, streams, effort)
        assert found.latency_ms is not None
        ms["bench"].append(found.latency_ms.median)
        seconds["bench"].append(len(streams) / found.rows_per_second.median)
        for name in ("loop", "bare"):
            ms[name].append(loop(calls[name], one, effort.calls) * 1e3)
            seconds[name].append(loop(calls[name], streams, effort.passes))
    return {
        **{f"{name} rows/s": len(streams) / statistics.median(seconds[name]) for name in calls},
        "bench / loop, many": ratio(seconds["bench"], seconds["loop"]),
        "bench / bare, many": ratio(seconds["bench"], seconds["bare"]),
        **{f"{name} ms": statistics.median(ms[name]) for name in calls},
        "bench / loop, one": ratio(ms["bench"], ms["loop"]),
        "bench / bare, one": ratio(ms["bench"], ms["bare"]),
    }


def loop(predict: Callable[[Streams], object], streams: Streams, times: int) -> float:
    """Seconds of one call, the median of so many."""
    predict(streams)
    found = []
    for _ in range(times):
        started = time.perf_counter()
        predict(streams)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def hand_written(run: Run) -> Callable[[Streams], np.ndarray]:
    """The run's head as one would write it: standardise, join, multiply, squash."""
    import torch  # not above: common has something to set before
    from safetensors.torch import load_file

    weights = load_file(run.path / "model" / "model.safetensors")
    names = list(run.streams)
    scalers = {
        name: (weights[f"inputs.scalers.{name}.mean"], weights[f"inputs.scalers.{name}.scale"]) for name in names
    }
    absent = {name: weights[f"inputs.absent.{name}"] for name in names}
    layers = sorted(
        key.removesuffix(".weight") for key in weights if key.startswith("fusion.") and key.endswith("weight")
    )

    @torch.inference_mode()
    def predict(streams: Streams) -> np.ndarray:
        parts = []
        for name, (mean, scale) in scalers.items():
            scaled = (streams.values[name][:, 0] - mean).mul_(scale).nan_to_num_(nan=0.0)
            parts.append(torch.where(streams.present[name][:, None], scaled, absent[name]))
        x = torch.cat(parts, dim=1)
        for number, layer in enumerate(layers):
            x = torch.nn.functional.linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
            if number < len(layers) - 1:
                x = torch.nn.functional.gelu(x)
        return torch.sigmoid(x).double().numpy()

    return predict


def repeated(streams: Streams, rows: int) -> Streams:
    """At least so many rows, the same ones again."""
    import torch

    places = torch.arange(max(rows, len(streams))) % len(streams)
    return streams.rows(places)


def sizes(run: Run) -> dict[str, Any]:
    """Bench's columns and the bytes on disk, which are to be the same."""
    row = bench_row(run)
    head = sum(path.stat().st_size for path in (run.path / "model").rglob("*") if path.is_file())
    files = {stream.encoder["weights"]: weights_file(stream.encoder_name) for stream in run.streams.values()}
    assert all(file_digest(path) == digest for digest, path in files.items())
    encoders = sum(path.stat().st_size for path in files.values())
    return {
        "head bytes": head,
        "encoder bytes": encoders,
        "sizes exact": (row.head_bytes, row.encoder_bytes, row.total_bytes) == (head, encoders, head + encoders),
    }


def weights_file(encoder: str) -> Path:
    """The file of an encoder that is in a folder: mini, or BACKEND:local-dir:FOLDER."""
    folder = Path(mini.__path__[0]) if encoder == "mini" else Path(encoder.partition("local-dir:")[2])
    (file,) = folder.glob("*.safetensors")
    return file


if __name__ == "__main__":
    main()
