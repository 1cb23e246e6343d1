"""A run as an ONNX file: the head, or pictures and captions to probabilities."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipfuse.encoders.weights import in_short
from clipfuse.errors import ConfigError, ExportError
from clipfuse.export.graph import RunGraph, probability_graph, stream_models
from clipfuse.export.sources import CAPTIONS, EncodedFeatures, GraphInput, encoder_sources, given_sources
from clipfuse.model_inputs import JointModel
from clipfuse.rerun import random_streams
from clipfuse.run import Run
from clipfuse.streams import Streams
from clipfuse_cache.atomic import temporary_beside, write_bytes, write_json

TOLERANCE = 1e-4
"""How far a probability may be from torch's."""
OUTPUT = "probabilities"
PRESENT = "_present"
"""Ends the name of a stream's mask."""

_ROWS = len(CAPTIONS)  # of the examples
_BATCHES = (1, 3)  # sizes that a file is checked at
_MOST_INSIDE = 1_900_000_000  # bytes of weights in the file itself: the format ends at 2 GiB


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Attributes:
        files: the ONNX file first, then the description beside it, and weights and tokenizers where they are apart.
        bytes: of all of them.
        inputs: name -> shape.
        worst: largest distance of a probability from torch's in the check.
        precisions: encoders' precisions that the features of the run were made in and the file does not compute in.
    """

    files: tuple[Path, ...]
    bytes: int
    inputs: Mapping[str, Sequence[int | str]]
    worst: float
    precisions: tuple[str, ...] = ()


def check_onnx() -> None:
    """Make sure that what writes and checks ONNX files is installed. Raises ConfigError."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"ONNX files need {error.name}", "pip install 'clipfuse[onnx]'") from error


def export_onnx(
    run: Run,
    out: Path,
    *,
    with_encoder: bool = False,
    encoders: Mapping[str, str] | None = None,
    word_list: Path | None = None,
) -> OnnxExport:
    """Write ``out`` and beside it a description of the same name that ends in .json.

    Inputs are called like the run's streams: ``image`` (batch, tokens, dim) float32; with encoders ``image_pixels``
    (batch, 3, height, width) float32, ``text_ids`` and ``text_own`` (batch, tokens) int64. Each stream has a mask,
    ``image_present`` (batch,) bool, False for rows that lack it; what stands in their place does not matter. The output
    ``probabilities`` is (batch, labels) float32, ensemble, views and calibration included. Any batch size goes. Labels,
    thresholds and the features' fingerprints are in the file's metadata and in the description.

    The file is run and compared with torch before it takes its place.

    Args:
        run: a trained run.
        out: ends in .onnx.
        with_encoder: put the encoders into the file, computing in float32.
        encoders: stream -> encoder name, where its files are no longer where they were.
        word_list: the synonyms that a view was made with, where those are not the ones that ship.

    Raises:
        ConfigError: a package is missing, or another ending.
        ExportError: the run has no graph of tensors, can't be traced, or gives other probabilities than torch.
        DataError, FingerprintMismatch, WeightsMissing, EncoderError: with encoders, as ``predict``.
        CacheError, RunError: the file can't be written, the run is damaged.
    """
    check_onnx()
    if out.suffix != ".onnx":
        raise ConfigError(f"{out} is no name for an ONNX file", f"Write {out.with_suffix('.onnx')}")
    probabilities = probability_graph(run.predictor())
    examples = example_streams(run, probabilities)
    if with_encoder:
        sources = encoder_sources(run, examples, encoders or {}, word_list)
    else:
        sources = given_sources(run, examples)
    graph = RunGraph(sources, probabilities).eval()
    inputs = [one for those in sources.values() for source in those for one in source.inputs]
    inputs += [_mask(name) for name in sources]
    made_in = {str(stream.encoder.get("precision", "float32")) for stream in run.streams.values()}
    texts = {
        name: those[0]
        for name, those in sources.items()
        if isinstance(those[0], EncodedFeatures) and those[0].tokenizer
    }
    about = {**describe(run, inputs), "tokenizers": {name: _tokenizer(out, name) for name in texts}}
    with _folder_beside(out) as folder:
        draft = folder / out.name
        worst = write_graph(graph, inputs, draft, {name: json.dumps(value) for name, value in about.items()})
        write_json(folder / f"{out.stem}.json", about)
        for name, source in texts.items():
            for file, content in source.tokenizer.items():
                write_bytes(folder / _tokenizer(out, name) / file, _content(content))
        files = _move(folder, out)
    return OnnxExport(
        files,
        sum(path.stat().st_size for path in files),
        {one.name: one.describe()["shape"] for one in inputs},
        worst,
        tuple(sorted(made_in - {"float32"})) if with_encoder else (),
    )


def write_graph(graph: torch.nn.Module, inputs: Sequence[GraphInput], path: Path, metadata: Mapping[str, str]) -> float:
    """Trace a graph of tensors by place, write it, and run what was written.

    Args:
        graph: of ``inputs``, in order.
        inputs: with examples of at least three rows.
        path: where to write; large weights come beside it, in a file that ends in .data.
        metadata: for the file.

    Returns:
        The largest distance from what torch computes.

    Raises:
        ExportError: it can't be traced, or the distance is above ``TOLERANCE``.
    """
    program = _trace(graph, inputs)
    for name, value in metadata.items():
        program.model.metadata_props[f"clipfuse.{name}"] = value
    for node in program.model.graph.all_nodes():  # the tracer notes lines of code, by their paths on this machine
        node.metadata_props.clear()
        node.doc_string = None
    large = sum(value.numel() * value.element_size() for value in program.exported_program.state_dict.values())
    program.save(path, external_data=large > _MOST_INSIDE)
    worst = largest_distance(graph, inputs, path)
    if not worst <= TOLERANCE:
        raise ExportError(
            f"the file gives probabilities {worst:.1e} from torch's, more than {TOLERANCE:.0e}: it was not kept",
            "Use --to bundle, which predicts by torch, and tell us what you exported",
        )
    return worst


def largest_distance(graph: torch.nn.Module, inputs: Sequence[GraphInput], path: Path) -> float:
    """Between a file's output and torch's: at several batch sizes, for rows with all inputs and without some of them;
    infinite where one has a number and the other none."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    read = {one.name for one in session.get_inputs()}
    worst = 0.0
    for rows in _BATCHES:
        for missing in (False, True):
            tensors = []
            for number, one in enumerate(inputs):
                tensor = one.example[:rows]
                if missing and one.name.endswith(PRESENT):
                    tensor = (torch.arange(rows) + number) % 3 != 0
                tensors.append(tensor)
            with torch.inference_mode():
                expected = graph(*tensors).numpy()
            found = session.run(
                [OUTPUT], {i.name: t.numpy() for i, t in zip(inputs, tensors, strict=True) if i.name in read}
            )[0]
            distance = np.abs(found.astype(np.float64) - expected)
            worst = max(worst, float(np.nan_to_num(distance, nan=np.inf).max()))
    return worst


def example_streams(run: Run, probabilities: torch.nn.Module) -> Streams:
    """Rows of noise as the models expect features to be: around the mean of their training rows."""
    drawn = random_streams(run)
    means: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for model in stream_models(probabilities):
        for part in model.modules():
            if isinstance(part, JointModel):
                for name in part.streams:
                    scaler = part.inputs.scaler(name)
                    means.setdefault(name, (scaler.mean, 1 / torch.where(scaler.scale > 0, scaler.scale, torch.inf)))

    def like_training(name: str, values: torch.Tensor) -> torch.Tensor:
        rows = values[:_ROWS].float()
        mean, deviation = means.get(name, (torch.zeros(()), torch.ones(())))
        return rows * deviation + mean

    read = [name for name in run.dims if name in means]
    return Streams(
        {name: like_training(name, drawn.values[name]) for name in read},
        {name: drawn.present[name][:_ROWS] for name in read},
        {name: tuple(like_training(name, one) for one in drawn.views.get(name, ())) for name in read},
    )


def describe(run: Run, inputs: Sequence[GraphInput]) -> dict[str, Any]:
    """What has to be known of the file, as JSON values."""
    return {
        "format": "clipfuse-onnx",
        "version": version("clipfuse"),
        "run": run.name,
        "inputs": {one.name: one.describe() for one in inputs},
        "output": {OUTPUT: ["batch", len(run.labels)]},
        "labels": list(run.labels),
        "thresholds": run.thresholds().tolist(),
        "empty_rows": run.config.empty_rows,
        "features": {
            name: {"name": stream.name, "fingerprint": stream.fingerprint, **stream.encoder}
            for name, stream in run.streams.items()
        },
    }


def _mask(stream: str) -> GraphInput:
    return GraphInput(f"{stream}{PRESENT}", torch.ones(_ROWS, dtype=torch.bool), f"whether a row has {stream}")


def _trace(graph: torch.nn.Module, inputs: Sequence[GraphInput]) -> Any:
    largest = {name: most for one in inputs for name, most in one.most.items()}
    dims: dict[str, Any] = {"batch": torch.export.Dim("batch", min=1)}
    for name in dict.fromkeys(name for one in inputs for name in one.free.values() if name != "batch"):
        dims[name] = torch.export.Dim(name.replace("-", "_"), min=2, max=largest.get(name, 4096))
    shapes = tuple({axis: dims[name] for axis, name in one.free.items()} for one in inputs)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                graph,
                tuple(one.example[:2] for one in inputs),
                dynamo=True,
                input_names=[one.name for one in inputs],
                output_names=[OUTPUT],
                dynamic_shapes=(shapes,),
                verbose=False,
            )
    except Exception as error:  # somebody's network in a tracer's hands: anything may come
        raise ExportError(
            f"it can't be traced ({in_short(error)})", "Use --to bundle; or leave out --with-encoder, where it is given"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A folder for drafts, on the same disk; it does not stay."""
    with temporary_beside(out) as folder:
        try:
            folder.mkdir(parents=True)
            yield folder
        except OSError as error:
            raise ExportError(f"can't write {out}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, out: Path) -> tuple[Path, ...]:
    """Everything in ``folder`` beside ``out``, which comes last: where it is, all it needs is."""
    found = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == out.name)
    moved = []
    for path in found:
        target = out.parent / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        moved.append(path.replace(target))
    return tuple(reversed(moved))


def _tokenizer(out: Path, stream: str) -> str:
    """Name of the folder beside ``out`` for a stream's tokenizer."""
    return f"{out.stem}-{stream}-tokenizer"


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
